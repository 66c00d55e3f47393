"""`python -m clearswap` is the same as `clearswap`."""

from clearswap.cli.main import main

if __name__ == "__main__":
    main()

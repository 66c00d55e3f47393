"""`python -m clearswap` is the same as `clearswap`."""

from clearswap.doors.cli import main

if __name__ == "__main__":
    main()

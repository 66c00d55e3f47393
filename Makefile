# make demo: set up, then swap two synthetic people and measure the result (about 4 minutes on 2 cores)
# make test: set up, then lint, types and tests (about 8 minutes on 2 cores)
# make check: lint, types and the quick tests (about 90 seconds)
# make bench-quick: run every benchmark with small sizes, to see that it works (about 2 minutes)
# make gpu: what a GPU gives: the speed and memory of all presets, and ten minutes of `hd` on the demo's pair, measured
# make docs: build the documentation into site/; a warning is an error
# make people: render the data set of synthetic people (outside this folder; about 50 minutes on 2 cores)
# make cast: render the cast that bases are made from (outside this folder; 52 minutes on 2 cores)
# make base: render the cast, and train the base of `lite` that comes with Clearswap (an hour and a half on 2 cores)
# make footage: fetch the real clips that the tests use (outside this folder)

PYTHON ?= python3
BIN := .venv/bin
FOOTAGE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/clearswap-footage

.PHONY: demo test check bench-quick gpu docs people cast base footage lint clean

demo: .venv/ready
	$(BIN)/clearswap demo

# One thread for each of pytest-xdist's processes: two torches with two threads each on two cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 CLEARSWAP_FOOTAGE=$(FOOTAGE) $(BIN)/pytest -n auto --dist loadfile

test: .venv/ready lint footage
	$(PYTEST)

check: .venv/ready lint
	$(PYTEST) -q -m "not slow and not footage"

bench-quick: .venv/ready
	$(BIN)/python benchmarks/run.py --quick

gpu: .venv/ready
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/clearswap demo --preset hd --minutes 10 --output demo-hd

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/docs-ready
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(BIN)/mkdocs build --strict --quiet

.venv/docs-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

people: .venv-render/ready
	.venv-render/bin/python people/render_people.py

cast: .venv-render/ready
	.venv-render/bin/python people/render_cast.py

base: cast .venv/ready
	$(BIN)/python tools/pretrain.py src/clearswap/training/bases/lite.safetensors --people 132 --steps 8600

.venv-render/ready: people/requirements-render.txt
	$(PYTHON) -m venv .venv-render
	.venv-render/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

footage: $(FOOTAGE)/ready

.venv/ready: pyproject.toml constraints.txt src/clearswap/faces/face_models.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/clearswap models install
	touch $@

# Real people, for tests only: read in place, never committed, no swap of them published.
$(FOOTAGE)/ready: tests/footage.txt | .venv/ready
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target $(FOOTAGE) --requirement tests/footage.txt
	touch $@

clean:
	rm -rf .venv .venv-render build site demo .pytest_cache .ruff_cache .hypothesis

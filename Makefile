# make demo       set up, then train, compare and explain QiNN-QJ on the embedded synthetic set
# make test       set up, then run every test
# make laws       every physical law on ten thousand random systems (about a quarter of an hour)
# make layouts    generated files of every layout at official size, imported, trained and evaluated (13 GB of disk)
# make check      the tests, plus formatting, types, import contracts and coverage bars (what CI runs)
# make benchmark  set up other simulators in .venv-benchmark, then compare with them (some 15 minutes)

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PEERS ?= .venv-benchmark

# One thread per worker: with two workers on two cores, more would only wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: demo test laws layouts check lint benchmark clean
.DEFAULT_GOAL := demo

# torch first and pinned: resolved together with the rest it would bring its multi-gigabyte GPU build.
$(BIN)/qinn: pyproject.toml constraints.txt
	@echo "Setting up $(VENV); the first time this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(BIN)/qinn
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[text,test,dev]'
	touch $@

demo: $(BIN)/qinn
	$(BIN)/qinn demo

test: $(VENV)/.dev
	$(PYTEST)

laws: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/laws.py --output benchmarks/results/laws.json

layouts: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/layouts.py --output benchmarks/results/layouts.json --publish docs/data.md

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint
	$(PYTEST) --cov --cov-report=
	for part in quantum data evaluation; do \
	  $(BIN)/coverage report --include="*/qinn/$$part/*" --fail-under=95 --skip-covered || exit 1; done
	$(BIN)/coverage report --format=total

# The packages compared with have an environment of their own: nothing else needs them.
$(PEERS)/.ready: benchmarks/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable . -r benchmarks/requirements.txt
	touch $@

benchmark: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/quantum.py --publish

clean:
	rm -rf $(VENV) $(PEERS) runs stores

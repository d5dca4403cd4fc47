# Everything from a fresh checkout: `make demo` (the default experiment) and `make test`.
SHELL  := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
LOCK   ?= requirements/lock-cpu-py311.txt
BIN    := $(VENV)/bin
# Real recordings for the tests that look at some; without the folder they are skipped.
export ROBO_REWARD_TEST_DATA ?= $(abspath $(wildcard ../shared/data))
STAMP  := $(VENV)/.setup-$(shell cat $(LOCK) pyproject.toml | sha256sum | cut -c1-12)

.PHONY: setup demo test fault fault-nightly bench reproduce reproduce-learning lint format docs
setup: $(STAMP)

# torch comes first and with its dependencies, which differ between its CPU and CUDA builds (PIP_EXTRA_INDEX_URL
# chooses); the rest is pinned and installed as listed, because two packages' declared ranges exclude each other.
$(STAMP):
	PYTHON=$(PYTHON) docker/install.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c $(LOCK) "$$(grep '^torch==' $(LOCK))"
	$(BIN)/pip install --quiet --no-deps -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps -e .
	rm -f $(VENV)/.setup-* && touch $@

demo: setup
	$(BIN)/robo-reward train

test: setup
	$(BIN)/python -m pytest -q

fault: setup
	$(BIN)/python scripts/study_faults.py

fault-nightly: setup
	$(BIN)/python scripts/study_faults.py nightly

# bench_hil trains for hours, so it is run by itself.
bench: setup
	for script in $(filter-out scripts/bench_hil.py,$(wildcard scripts/bench_*.py)); do $(BIN)/python $$script || exit 1; done

# Hours: every table and picture of the README's results, old against new; goes on where it was stopped. One of them:
# make reproduce-default_run; scripts/reproduce.py names them, `scripts/study_learning.py --list` what is missing there.
reproduce: setup
	$(BIN)/python scripts/reproduce.py

reproduce-learning: reproduce-learner_tasks

reproduce-%: setup
	$(BIN)/python scripts/reproduce.py $*

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

# The site, into build/site; a broken link is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir build/site

# Two commands do everything on a machine with Python 3.11+ and make: `make smoke` and `make test`.
# ARGS passes Hydra choices on, e.g. make table1 ARGS="model=tiny results=results/tiny".
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed

# Runs every row of $(1) even when one fails, builds its tables and the report of $(2) from what there is, and fails if
# anything did. $(3) comes before the report. A dry run leaves nothing to build from.
define run_and_tabulate
status=0; \
$(BIN)/python -m scripts.run --multirun experiment=$(1) $(ARGS) || status=$$?; \
if [ $$status -eq 130 ]; then exit 130; fi; \
$(if $(filter --dry-run,$(ARGS)),,$(call tabulate,$(1),$(2),$(3))) \
exit $$status
endef

define tabulate
$(BIN)/python -m scripts.tables experiment=$(1) $(ARGS) || status=$$?; \
$(3) \
$(BIN)/python -m scripts.report experiment=$(2) $(ARGS) || status=$$?;
endef

# The tests that touch other packages most, in the environment of constraints-$(1).txt.
define test_versions
.venv-$(1)/bin/python -m pytest -n 2 -m 'not slow and not slurm and not faults and not hub' tests/retom tests/baselines tests/gpu \
  tests/eval/test_pictures.py tests/eval/test_features.py tests/eval/test_clip_score.py tests/eval/test_metrics.py \
  tests/scripts/jobs/test_job.py::test_a_row_leaves_config_manifest_images_and_record \
  'tests/scripts/test_command_line.py::test_every_experiment_runs_on_the_tiny_model[table2-tables1]'
endef

# Figure 3 and staleness, which the report shows: one image, and one for each class.
define LOOK_INSIDE
$(BIN)/python -m scripts.figure3 experiment=smoke $(ARGS) || status=$$?; \
$(BIN)/python -m scripts.staleness experiment=smoke prompts.images_per_class=1 $(ARGS) || status=$$?;
endef

# Both tables' runs lie in one folder, and one page shows them all.
REAL := '[table1,table2]'

# The tiny model's tensors are too small for threads to pay, and threads that wait for each other on a busy machine cost much.
smoke test test-levels test-slow test-hub test-slurm test-oldest test-torch211: export OMP_NUM_THREADS ?= 1

.PHONY: help docs install smoke test test-levels test-slow test-hub test-slurm test-oldest test-torch211 faults lint typecheck package format table1 table2 tables report claims verify check-results bench gpu train-tiny clean-venv

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install the project with its pinned packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,dev,docs,package]'
	touch $@

# torch and torchvision belong together, so they are installed by one command in a fresh environment.
.venv-%/.installed: pyproject.toml constraints-%.txt
	rm -rf .venv-$*
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-$*.txt -e '.[bench,dev]'
	touch $@

smoke: $(STAMP) ## every row of both tables at 64 px on the trained tiny model; results/smoke/
	@$(call run_and_tabulate,smoke,smoke,$(LOOK_INSIDE))

test: $(STAMP) ## all tests that need neither GPU nor network, but the slow ones
	$(BIN)/python -m pytest -n 2 -m 'not slow and not slurm and not faults and not hub'

test-levels: $(STAMP) ## the tests in which rounding decides, under the lower instruction levels of this processor
	@$(BIN)/python -m tests.levels

test-slow: $(STAMP) ## the tests marked slow: simulated coverage, whole commands, the browser, compilation
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

test-hub: $(STAMP) ## real runs rehearsed: downloads from a hub that the test starts here, cut, gated and offline
	$(BIN)/python -m pytest -n 2 --dist loadscope -m hub

test-slurm: $(STAMP) ## sweeps on a Slurm of one node that the test starts here (apt-get install slurm-wlm munge; as root)
	$(BIN)/python -m pytest -m slurm

test-oldest: .venv-oldest/.installed ## methods, networks, metrics and a row with the lowest versions of pyproject.toml
	$(call test_versions,oldest)

test-torch211: .venv-torch211/.installed ## the same with torch 2.11, triton 3.6, transformers 5.17
	$(call test_versions,torch211)

# The figures are written even when a trial was lost: they say so.
faults: $(STAMP) ## kill, fill and corrupt real runs and compare what they recover to; figures in docs/reliability.md
	@lines=$$(mktemp); status=0; \
	OMP_NUM_THREADS=1 FAULT_FIGURES=$$lines $(BIN)/python -m pytest -n 2 -m faults tests/faults || status=$$?; \
	$(BIN)/python -m tests.faults.figures $$lines docs/reliability.md || status=$$?; \
	rm -f $$lines; exit $$status

docs: $(STAMP) ## the documentation site, warnings as errors: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "written: site/index.html"

lint: $(STAMP) typecheck ## ruff: rules and formatting; mypy: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP) ## mypy --strict on the library, as pyproject.toml configures it
	$(BIN)/mypy

package: $(STAMP) ## build the sdist and the wheel of the library into dist/ and check them with twine
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

format: $(STAMP) ## rewrite the files as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

table1: $(STAMP) ## Table I: run its rows (finished ones are kept), then results/table1.csv and .md
	@$(call run_and_tabulate,table1,$(REAL))

table2: $(STAMP) ## Table II: the same; shares Table I's finished rows
	@$(call run_and_tabulate,table2,$(REAL))

tables: $(STAMP) ## rebuild both tables from the records, running nothing; ARGS="experiment=smoke" for the smoke run's
	@status=0; \
	if [[ "$(ARGS)" == *experiment=* ]]; then exec $(BIN)/python -m scripts.tables $(ARGS); fi; \
	$(BIN)/python -m scripts.tables experiment=table1 $(ARGS) || status=$$?; \
	$(BIN)/python -m scripts.tables experiment=table2 $(ARGS) || status=$$?; \
	exit $$status

report: $(STAMP) ## results/report.html and figures/ from the records; ARGS="experiment=smoke" for the smoke run's
	@$(BIN)/python -m scripts.report $(if $(findstring experiment=,$(ARGS)),,experiment=$(REAL)) $(ARGS)

claims: $(STAMP) ## the paper's claims held against the records: results/claims.md; ARGS="experiment=smoke" for the smoke run's
	@$(BIN)/python -m scripts.claims $(if $(findstring experiment=,$(ARGS)),,experiment=$(REAL)) $(ARGS)

verify: $(STAMP) ## score a finished run again and compare: make verify RUN=table1/retom-0123456789ab
	@$(BIN)/python -m scripts.verify run=$(RUN) $(ARGS)

check-results: $(STAMP) ## whether the committed CSVs are what results/PROVENANCE.json says; needs no GPU
	@$(BIN)/python -m scripts.check_results $(ARGS)

bench: $(STAMP) ## time the methods side by side: results/bench_cpu.csv and .md (a quarter of an hour); ARGS=bench=cuda on a GPU
	@$(BIN)/python -m scripts.bench $(ARGS)

gpu: $(STAMP) ## the first ten minutes on a GPU: tests, seconds of both tables, cost of merging; results/gpu_<card>.md (docs/gpu.md)
	@$(BIN)/python -m scripts.gpu $(ARGS)

train-tiny: $(STAMP) ## train the tiny model on the pictures of ARGS=data=FOLDER (hours on a CPU); results/training/
	@$(BIN)/python -m scripts.train_tiny $(ARGS)

clean-venv: ## remove .venv and those of other versions (the next command makes them again)
	rm -rf .venv .venv-oldest .venv-torch211

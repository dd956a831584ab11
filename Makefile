# Two commands do everything on a machine with Python 3.11+ and make: `make smoke` and `make test`.
# ARGS passes Hydra overrides, e.g. make table1 ARGS="model=tiny results=results/tiny".
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ARGS ?=
INDEX ?=
BIN := .venv/bin
STAMP := .venv/.installed
# Which build of torch .venv has: nothing for that of PyPI, cpu for the CPU build.
TORCH ?= $(shell cat .venv/.torch 2>/dev/null)

# Runs every row of $(1) even when one fails, builds its tables and the claims and report of $(2) from the rows that are
# finished, and fails if a step did. $(3) comes before the report. A dry run has nothing to build from.
define run_and_tabulate
status=0; \
$(BIN)/python -m scripts.run --multirun experiment=$(1) $(ARGS) || status=$$?; \
if [ $$status -eq 130 ]; then exit 130; fi; \
$(if $(filter --dry-run,$(ARGS)),,$(call tabulate,$(1),$(2),$(3))) \
exit $$status
endef

# The summary prints the tables and claims last, so the commands that write them print only the paths.
define tabulate
$(BIN)/python -m scripts.tables experiment=$(1) $(ARGS) >/dev/null || status=$$?; \
$(3) \
$(BIN)/python -m scripts.claims experiment=$(2) $(ARGS) >/dev/null || status=$$?; \
$(BIN)/python -m scripts.report experiment=$(2) $(ARGS) || status=$$?; \
$(BIN)/python -m scripts.summary experiment=$(1) $(ARGS) || status=$$?;
endef

# The tests that touch other packages most, in the environment of constraints-$(1).txt.
define test_versions
.venv-$(1)/bin/python -m pytest -n 2 -m 'not slow and not slurm and not faults and not hub' tests/retom tests/baselines tests/gpu \
  tests/eval/test_decoding.py tests/eval/metrics/test_features.py tests/eval/metrics/test_clip_score.py tests/eval/metrics/test_metrics.py \
  tests/scripts/jobs/test_run_row.py::test_a_row_leaves_config_manifest_images_and_record \
  'tests/scripts/test_command_line.py::test_every_experiment_runs_on_the_tiny_model[table2-tables1]'
endef

# Figure 3 of one image and staleness of one image for each class, which the report shows.
define LOOK_INSIDE
$(BIN)/python -m scripts.figure3 experiment=smoke $(ARGS) || status=$$?; \
$(BIN)/python -m scripts.staleness experiment=smoke prompts.images_per_class=1 $(ARGS) || status=$$?;
endef

# Both tables' runs are in one folder and in one report.
REAL := '[table1,table2]'

# The tiny model's tensors are too small for several threads, and threads that wait for each other are slow on a busy machine.
smoke test test-levels test-slow test-hub test-slurm test-oldest test-torch211: export OMP_NUM_THREADS ?= 1

.PHONY: help docs install smoke test test-levels test-slow test-hub test-slurm test-oldest test-torch211 faults lint typecheck package format table1 table2 tables report claims verify check-results check-submissions bench gpu train-tiny clean-venv

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv with the pinned packages; TORCH=cpu INDEX=<address>: no CUDA
	@[ "$(TORCH)" = "$$(cat .venv/.torch 2>/dev/null)" ] || \
	  { echo "error: .venv has another build of torch than TORCH=$(TORCH); run make clean-venv first" >&2; exit 1; }

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@$(if $(TORCH),$(call install_torch,$(TORCH)))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,dev,docs,package]'
	touch $@

# The CPU builds of torch and torchvision have the pinned versions with "+cpu" at the end, so constraints.txt admits them.
# PyPI has them for macOS alone (without the ending). PyTorch's own index has them; INDEX or pip's configuration names it.
define install_torch
[ "$(1)" = cpu ] || { echo "error: TORCH must be cpu or empty, got $(1)" >&2; rm -rf .venv; exit 1; }; \
build=$$([ "$$(uname -s)" = Darwin ] || echo +cpu); \
packages=$$(sed -n "s/^torch\(vision\)\?==.*/&$$build/p" constraints.txt); \
$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(INDEX),--extra-index-url $(INDEX)) $$packages || \
  { echo "error: pip did not install" $$packages "(above); pass the address of PyTorch's index of CPU packages," \
    "which its installation page gives: make install TORCH=cpu INDEX=<address>" >&2; rm -rf .venv; exit 1; }; \
echo $(1) >.venv/.torch
endef

# torch and torchvision belong together, so they are installed by one command in a fresh environment.
.venv-%/.installed: pyproject.toml constraints-%.txt
	rm -rf .venv-$*
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-$*.txt -e '.[bench,dev]'
	touch $@

smoke: $(STAMP) ## both tables at 64 px on the trained tiny model, on a CPU; results/smoke/
	@$(call run_and_tabulate,smoke,smoke,$(LOOK_INSIDE))

test: $(STAMP) ## all tests that need no GPU and no network, without the slow ones
	$(BIN)/python -m pytest -n 2 -m 'not slow and not slurm and not faults and not hub'

test-levels: $(STAMP) ## tests that depend on rounding, under older instruction sets (LEVELS=AVX2)
	@$(BIN)/python -m tests.levels $(LEVELS)

test-slow: $(STAMP) ## tests marked slow: simulated coverage, whole commands, browser, compilation
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

test-hub: $(STAMP) ## rehearsed downloads: a local hub, interrupted, gated and offline
	$(BIN)/python -m pytest -n 2 --dist loadscope -m hub

test-slurm: $(STAMP) ## sweeps on a one-node Slurm (apt-get install slurm-wlm munge; as root)
	$(BIN)/python -m pytest -m slurm

test-oldest: .venv-oldest/.installed ## methods, networks, metrics and a row with the oldest supported versions
	$(call test_versions,oldest)

test-torch211: .venv-torch211/.installed ## the same with torch 2.11, triton 3.6, transformers 5.17
	$(call test_versions,torch211)

# The figures are written even when a trial failed, and report it.
faults: $(STAMP) ## kill and corrupt real runs, compare the recovery; docs/reliability.md
	@lines=$$(mktemp); status=0; \
	OMP_NUM_THREADS=1 FAULT_FIGURES=$$lines $(BIN)/python -m pytest -n 2 -m faults tests/faults || status=$$?; \
	$(BIN)/python -m tests.faults.figures $$lines docs/reliability.md || status=$$?; \
	rm -f $$lines; exit $$status

docs: $(STAMP) ## the documentation site, warnings as errors: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "written: site/index.html"

lint: $(STAMP) typecheck ## check rules and formatting with ruff, types with mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP) ## mypy --strict on the library, as pyproject.toml configures it
	$(BIN)/mypy

package: $(STAMP) ## build sdist and wheel of the library into dist/, check them with twine
	rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

format: $(STAMP) ## fix and format the files with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

table1: $(STAMP) ## Table I: run its rows, skip finished ones; results/table1.csv and .md
	@$(call run_and_tabulate,table1,$(REAL))

table2: $(STAMP) ## Table II: the same; shares finished rows with Table I
	@$(call run_and_tabulate,table2,$(REAL))

tables: $(STAMP) ## rebuild the tables; ARGS="experiment=smoke" for the smoke run
	@status=0; \
	if [[ "$(ARGS)" == *experiment=* ]]; then exec $(BIN)/python -m scripts.tables $(ARGS); fi; \
	$(BIN)/python -m scripts.tables experiment=table1 $(ARGS) || status=$$?; \
	$(BIN)/python -m scripts.tables experiment=table2 $(ARGS) || status=$$?; \
	exit $$status

report: $(STAMP) ## rebuild report.html and figures/; ARGS=experiment=smoke for the smoke run
	@$(BIN)/python -m scripts.report $(if $(findstring experiment=,$(ARGS)),,experiment=$(REAL)) $(ARGS)

claims: $(STAMP) ## check the paper's claims; ARGS=experiment=smoke for the smoke run
	@$(BIN)/python -m scripts.claims $(if $(findstring experiment=,$(ARGS)),,experiment=$(REAL)) $(ARGS)

verify: $(STAMP) ## score a finished run again and compare: RUN=table1/retom-0123456789ab
	@$(BIN)/python -m scripts.verify run=$(RUN) $(ARGS)

check-results: $(STAMP) ## check the committed CSVs against results/PROVENANCE.json
	@$(BIN)/python -m scripts.check_results $(ARGS)

check-submissions: $(STAMP) ## check submissions/: schema, protocol, images, times; no network
	@$(BIN)/python -m scripts.check_submissions $(ARGS)

bench: $(STAMP) ## time the methods side by side (15 minutes); ARGS=bench=cuda on a GPU
	@$(BIN)/python -m scripts.bench $(ARGS)

gpu: $(STAMP) ## ten minutes on a GPU: tests, times, cost of merging; docs/gpu.md
	@$(BIN)/python -m scripts.gpu $(ARGS)

train-tiny: $(STAMP) ## train the tiny model on the images in ARGS=data=FOLDER (hours on a CPU)
	@$(BIN)/python -m scripts.train_tiny $(ARGS)

clean-venv: ## remove .venv and the environments of other versions
	rm -rf .venv .venv-oldest .venv-torch211

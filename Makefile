# Variables: PROFILE=smoke|mini|base|paper  LAUNCHER=local (default)|slurm  ONLY='row/column' glob  YES=1 (spend what the plan says)
#            SEEDS=n (the first n of each point)  SEARCH=published|full (the published point alone, or the whole search)
#            RUN=0 (render only; for `logs` and `again`: a run's id)  JOBS=workers  ARTEFACT=name (plan)  CLAIM=C5 (the cells that decide it)
#            HOURS=2.5 (start nothing here that would not end by then)  BUDGET=hours (plan: what to run first)  DECIDE='name=option …'
PROFILE ?= smoke
LAUNCHER ?=
ONLY ?=
YES ?=
SEEDS ?=
SEARCH ?=
RUN ?=
JOBS ?=
ARTEFACT ?=
CLAIM ?=
BUDGET ?=
HOURS ?=
DECIDE ?=
# Handed over through the environment, so that no value meets the shell's quoting.
export PROFILE LAUNCHER ONLY YES SEEDS SEARCH RUN JOBS ARTEFACT CLAIM BUDGET HOURS
ifneq ($(DECIDE),)
export MUPPET_DECIDE := $(DECIDE)
endif

PYTHON ?= python3
KNOWN := PROFILE LAUNCHER ONLY YES SEEDS SEARCH RUN JOBS ARTEFACT CLAIM BUDGET HOURS DECIDE PYTHON
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
$(if $(filter-out $(KNOWN),$(GIVEN)),$(error unknown variable $(filter-out $(KNOWN),$(GIVEN)); choose one of: $(KNOWN)))
$(if $(filter-out 0 1,$(YES)),$(error YES=$(YES) says nothing; YES=1 spends what the plan says))
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ARGS = --profile "$$PROFILE" --launcher "$$LAUNCHER" --only "$$ONLY" --jobs "$$JOBS" --artefact "$$ARTEFACT" \
  --claim "$$CLAIM" --budget "$$BUDGET" --hours "$$HOURS" --seeds "$$SEEDS" --search "$$SEARCH" \
  $(if $(filter 1,$(YES)),--yes) $(if $(filter 0,$(RUN)),--no-run,--run "$$RUN")
LOCK := $(shell command -v flock >/dev/null 2>&1 && echo 'flock $(VENV)/.lock')

ARTEFACTS := table1 table3 table4 table5 table6 figure1 figure2 figure3 ablations
VIEWS := render report reproduction claims meta decisions
JOBS_AND_COST := plan status feed retry again cancel logs prefetch doctor bench calibrate

.PHONY: setup help all test lint $(ARTEFACTS) $(VIEWS) $(JOBS_AND_COST)

setup: $(READY)  ## make .venv from requirements.lock (every target does this first)
	@echo "ready: try \`make table3\`, or \`make help\`"

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name a newer one, as in \`make PYTHON=python3.12 $(MAKECMDGOALS)\`" >&2; exit 2; }
	@mkdir -p $(VENV)
	@echo "setting up .venv from requirements.lock (a few minutes, once)" >&2
	@$(LOCK) sh -ec '$(PYTHON) -m venv $(VENV) && $(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock'
	@touch $@

table1: $(READY)  ## Table 1 and 2: the pre-finetuning datasets, counted
table3: $(READY)  ## Table 3: GLUE and SQuAD: runs what is missing, then renders
table4: $(READY)  ## Table 4: further sentence prediction, commonsense, summarization
table5: $(READY)  ## Table 5: tasks that pre-finetuning did not see
table6: $(READY)  ## Table 6: adversarial NLI
figure1: $(READY)  ## Figure 1: scores against the number of pre-finetuning datasets
figure2: $(READY)  ## Figure 2: three ways of batching
figure3: $(READY)  ## Figure 3: how little fine-tuning data is enough
ablations: $(READY)  ## the effects the paper asserts without numbers
all: $(READY)  ## every artefact, brought up to date
render: $(READY)  ## render everything from the results that are there
report: $(READY)  ## one self-contained page: paper_tables/report.html
reproduction: $(READY)  ## the write-up: paper_tables/reproduction.md
claims: $(READY)  ## the paper's claims, each with a verdict and its numbers
meta: $(READY)  ## what the paper's own numbers say together, before any run
decisions: $(READY)  ## the paper's ambiguities and what was decided
plan: $(READY)  ## what would run and what it costs
status: $(READY)  ## done, running, queued, failed: per artefact and run
feed: $(READY)  ## send a cluster what its limits allow, and more as room comes
retry: $(READY)  ## run failed runs again
cancel: $(READY)  ## cancel our jobs on the cluster
again: $(READY)  ## repeat a run beside its result and compare: make again RUN=<id>
logs: $(READY)  ## follow one run: make logs RUN=<id>
prefetch: $(READY)  ## fetch models and data for nodes without network
doctor: $(READY)  ## check Python, packages, GPU, disk, data, scheduler
calibrate: $(READY)  ## simulate how often a claim is judged wrongly (minutes)
bench: $(READY)  ## measure speed against other trainers

$(ARTEFACTS) $(VIEWS) $(JOBS_AND_COST) all:
	@$(PY) -m studies $@ $(ARGS)

test: lint  ## lint, then every test
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(PY) -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: $(READY)  ## ruff, mypy and the import rules
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted: run $(PY) -m ruff format ." >&2; exit 1; }
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

help:  ## this list
	@awk -F '  ## ' '/^[a-z0-9]+:.*  ## / { sub(/:.*/, "", $$1); printf "  %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@awk '/^#/ { sub(/^# ?/, ""); print; next } { exit }' $(MAKEFILE_LIST)

Makefile requirements.lock: ;

.DEFAULT:
	@$(PYTHON) -c 'import difflib, sys; g = sys.argv[1]; n = difflib.get_close_matches(g, sys.argv[2:], 1, 0.4); \
	  print(f"unknown target {g!r}: " + (f"did you mean {n[0]!r}?" if n else "`make help` lists them"), file=sys.stderr)' \
	  '$@' setup help all test lint $(ARTEFACTS) $(VIEWS) $(JOBS_AND_COST); exit 2

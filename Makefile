# Two commands: `make book` renders hands, trains every row, and builds the book; `make test` tests all of it.
# PRESET, DATASET, DATA_ROOT, SEED and SEEDS (how many) choose another run; CORES says how many processor cores to use.
# `make batch ROWS="A B D3" SEEDS="0 1 2"` trains chosen rows with a list of seeds and prints one table.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
PRESET ?= quick
DATASET ?= synthetic
DATA_ROOT ?=
SEED ?= 0
SEEDS ?= 1
ROWS ?=
PROFILE ?=
# A misspelt name would run the default.
GIVEN := PYTHON PRESET DATASET DATA_ROOT SEED SEEDS ROWS PROFILE CORES TAG URL COMMIT WITH_PICTURES NOTEBOOKS GPUS VENV SHELL
$(foreach name,$(.VARIABLES),$(if $(and $(filter command,$(origin $(name))),$(filter-out $(GIVEN),$(filter-out -%,$(name)))),$(error no variable $(name) here: there are PRESET, DATASET, DATA_ROOT, SEED, SEEDS, ROWS, PROFILE, CORES, TAG, URL, COMMIT and WITH_PICTURES)))
# What a shell would act on is refused before anything is done with a value that was given.
define NEWLINE


endef
refuse = $(if $(findstring $(2),$(value $(1))),$(error $(1) holds $(if $(filter-out $(NEWLINE),$(2)),$(2),a line break), which a shell would act on: give a plain value))
QUOTED := PRESET DATASET SEED SEEDS ROWS PROFILE CORES DATA_ROOT TAG URL COMMIT
BARE := PRESET DATASET SEED SEEDS CORES
SIGNS := " ` $$ \ #
$(foreach name,$(QUOTED),$(call refuse,$(name),$(NEWLINE))$(foreach sign,$(SIGNS),$(call refuse,$(name),$(sign))))
SIGNS := ; & | < > ' ( ) { } [ ] * ? ~ ! \#
$(foreach name,$(BARE),$(foreach sign,$(SIGNS),$(call refuse,$(name),$(sign))))
CORES ?= $(shell $(PYTHON) -c "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())")
VENV := .venv/bin
READY := .venv/ready
# The source notebooks, in an order in which each finds what it stands on.
NOTEBOOKS := $(foreach name,data warmup disentangle align refine row inside peers results claims decisions datasets predict change_row,notebooks/$(name).ipynb)
# One training at a time on a GPU.
GPUS ?= $(shell command -v nvidia-smi >/dev/null && echo "--resources gpu=1")
# DATA_ROOT as a list of one text: Snakemake reads a bare value as YAML, in which `/data/a #b` is the folder /data/a.
SNAKEMAKE = $(VENV)/python -m snakemake --snakefile notebooks/Snakefile --cores $(CORES) --quiet rules host progress \
  --rerun-incomplete --nolock $(GPUS) $(GOAL) --config preset=$(PRESET) dataset=$(DATASET) data_root="[\"$(DATA_ROOT)\"]" \
  seed=$(SEED) seeds=$(COUNT) python=$(VENV)/python
COUNT = $(if $(word 2,$(SEEDS)),$(error SEEDS is here how many seeds, 3 say; a list of seeds is for `make batch`),$(SEEDS))
RUN = $(DATASET)-$(PRESET)-seed$(SEED)$(if $(filter-out 1,$(COUNT)),to$(shell echo $$(($(SEED) + $(COUNT) - 1))))

.PHONY: book test mutants batch bench alike decisions record pages manifest site archive notebooks address commands environments soak fuzz lock clean

book: $(READY)
	$(SNAKEMAKE)

# Lint and types, then the tests on all cores beside nbval, one thread each. nbval goes through the notebooks in their order, in
# runs of its own: it compares what `smoke` gives on one thread. Lines count as covered in the tests' own processes. There is one
# worker more than cores, since some always wait for a browser or for a process that they started.
test: export CUDA_VISIBLE_DEVICES =
test: export OMP_NUM_THREADS = 1
test: $(READY)
	$(VENV)/python -m ruff check
	$(VENV)/python -m mypy
	$(VENV)/python -m coverage erase
	mkdir -p runs/tests
	HANDPOSE_RUNS=runs/tests $(VENV)/python -m pytest --nbval --nbval-current-env -W default $(NOTEBOOKS) >runs/tests/nbval.log 2>&1 \
	  & notebooks=$$!; failed=0; \
	  $(VENV)/python -m coverage run -m pytest -n $$(($(CORES) + 1)) --durations 20 --dist loadfile --no-loadscope-reorder || failed=1; \
	  wait $$notebooks || failed=1; cat runs/tests/nbval.log; exit $$failed
	$(VENV)/python -m coverage combine --quiet
	$(VENV)/python -m coverage report

# Each loss, metric and formula broken in every small way: do the tests notice? Writes book/checks/mutants.json.
mutants: $(READY)
	OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= $(VENV)/python -m tests.mutants --jobs $(CORES)

# Chosen rows, each with every seed of a list, then one table. PROFILE=notebooks/profiles/slurm runs it on a cluster.
batch: $(READY)
	@$(VENV)/python -m handpose.batch --rows "$(ROWS)" --seeds "$(if $(filter file,$(origin SEEDS)),$(SEED),$(SEEDS))" \
	  --preset "$(PRESET)" --dataset $(DATASET) --data-root "$(DATA_ROOT)" --cores $(CORES) --profile "$(PROFILE)"

# Speeds beside the bare network's, and beside the usual ways: some minutes on a machine that does nothing else. What was measured is
# kept in book/checks/bench.json, which a page shows, and a GPU's, where there is one, beside it.
bench: $(READY)
	CUDA_VISIBLE_DEVICES= $(VENV)/python -m tests.bench --output book/checks/bench.json
	if command -v nvidia-smi >/dev/null; then $(VENV)/python -m tests.bench gpu --output book/checks/bench-gpu.json; fi

# Does the code as it is train what that of COMMIT trained, by which the recorded results came about? Some minutes; what it finds is
# kept in book/checks/alike.json, and results of code that trains alike are not stale.
alike: $(READY)
	$(VENV)/python -m tests.alike "$(COMMIT)"

# What the choices change: trains the variants of the page of decisions; the next `make book` shows them.
decisions: $(READY)
	OMP_NUM_THREADS=$(CORES) $(VENV)/python -m handpose.decisions --preset $(PRESET) --dataset $(DATASET) --data-root "$(DATA_ROOT)" \
	  --seed $(SEED) --threads $(CORES)

# The pages and results of the last `make book` become the recorded run, the one that `jupyter-book build .` shows.
record: $(READY)
	$(VENV)/python -m handpose.book --record runs/pages/$(RUN) $(if $(WITH_PICTURES),--with-pictures)

# The recorded pages anew, from the recorded results: minutes, no training.
pages: GOAL = pages
pages: PRESET = desktop
pages: SEEDS = 3
pages: $(READY)
	$(SNAKEMAKE) recorded=1
	$(VENV)/python -m handpose.book --record runs/pages/$(RUN)-recorded

# The digests of the recorded run's files, which the build compares, anew; refused when its parts don't agree.
# `make record` and `make pages` do it themselves.
manifest: $(READY)
	$(VENV)/python -m handpose.book --manifest

# The book of the recorded run, from a clean state; warnings are errors. What is published.
site: $(READY)
	rm -rf _build
	$(VENV)/jupyter-book build . -W --keep-going --quiet

# The book, the recorded run and the pinned environment as archives in _build/release, to be kept for good.
archive: site
	$(VENV)/python -m handpose.archive $(if $(TAG),--tag "$(TAG)")

# Source notebooks: sync py:percent and ipynb, and store the outputs of a run at `smoke`, from nothing: older runs would show.
notebooks: export OMP_NUM_THREADS = 1
notebooks: export HANDPOSE_RUNS = runs/notebooks
notebooks: $(READY)
	rm -rf runs/notebooks
	$(VENV)/jupytext --sync notebooks/*.py
	for notebook in $(NOTEBOOKS); do $(VENV)/python -m handpose.notebook $$notebook $$notebook || exit 1; done

# Every command of the README and of the chapter "Run it yourself", for real, at the size `smoke`: about two hours on two cores.
commands: $(READY)
	$(VENV)/python -m pytest -m slow tests/test_commands.py

# Binder's environment built from its pins, Colab's from the list of its versions, and notebooks run in both: a quarter of an hour.
environments: $(READY)
	$(VENV)/python -m pytest -m slow tests/test_installed.py

# Parts of a run, ended at fifty random moments and started again, and a thousand damaged datasets: what came of it is kept in
# book/checks. A quarter of an hour each on one core.
soak: $(READY)
	OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= $(VENV)/python -m tests.soak --count 50 --output book/checks/soak.json

fuzz: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/python -m tests.fuzz --count 1000 --output book/checks/fuzz.json

# The repository's public address: buttons, badges, citation and Colab links follow. `make address URL=` takes it out,
# `make address` shows it.
address: $(READY)
	$(VENV)/python -m handpose.address $(if $(filter undefined,$(origin URL)),,"$(URL)")

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; set PYTHON=')"
	$(VENV)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "installing the pinned packages into .venv: a few minutes, about 7 GB (PyTorch brings its GPU libraries)"
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "compiling the renderer: half a minute"
	TQDM_DISABLE=1 $(VENV)/python -m handpose.data.synthetic.compiled
	touch $(READY)

# The one command that makes requirements.txt (`pip install uv` first).
# Pins every direct and indirect dependency, for every platform and Python version that pyproject.toml allows.
# environment.yml takes the same but for PyTorch and the GPU libraries that only it needs: these are conda's there.
lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	  --extra book --extra test --upgrade pyproject.toml --output-file requirements.txt
	grep -vE '^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' requirements.txt > requirements-conda.txt

clean:
	rm -rf _build runs .snakemake

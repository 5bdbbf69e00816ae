# Each target is one line of Python. The end of this file makes the environment that they need, once.
PYTHON := .venv/bin/python
UV := $(or $(shell command -v uv),.tools/uv/bin/uv)
INSTALLER := $(if $(findstring .tools,$(UV)),.tools/uv/bin/uv)
READY := .venv/.made-from-requirements
READY_313 := .venv-py313/.made-from-requirements
BENCHED := .venv-bench/.made-from-requirements
NOTEBOOKS := .venv-notebook/.made-from-requirements
AUDITOR := .venv-audit/.made-from-requirements

# The package lies below kernel_src here, and below its dataset on Kaggle.
export PYTHONPATH := kernel_src
# Threads that wait for each other sleep instead of spinning. On a busy machine that is twice as fast.
export OMP_WAIT_POLICY ?= PASSIVE
# Some machines forbid Python to keep compiled modules. A start would then take thrice as long.
export PYTHONDONTWRITEBYTECODE :=

# The folder of your own packages: networks that a cfg.yaml names, and steps that a recipe names.
ifdef OWN
export KERNELKIT_OWN := $(OWN)
endif

SIZE ?= small
WORKERS ?= 2
AS_JSON = $(if $(JSON),--json)
PROFILE ?= kaggle-py312
ONLY ?= $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py))
PYTEST = -n 2 --dist worksteal $(if $(FAST),-m "not slow")
# A competition of your own, competitions/NAME/. If there is only one, it need not be named.
# Some shells export a NAME, which is of something else.
ifneq ($(origin NAME),command line)
NAME :=
endif

# What a command takes stands in parentheses behind it. Another word would be passed over in silence.
ALWAYS := OWN PYTHON UV PYTHONPATH OMP_WAIT_POLICY SHELL
ifeq ($(MAKELEVEL),0)
GIVEN := $(foreach word,$(.VARIABLES),$(if $(filter command,$(origin $(word))),$(word)))
ASKED := $(filter-out help%,$(MAKECMDGOALS))
ifneq ($(and $(GIVEN),$(ASKED)),)
TAKEN := $(foreach one,$(ASKED),$(shell sed -nE 's/^$(one):.*\((.*)\)$$/\1/p' Makefile | grep -oE '[A-Z]+=' | tr -d =))
ifneq ($(filter-out $(TAKEN) $(ALWAYS),$(GIVEN)),)
$(error make $(ASKED) takes no $(firstword $(filter-out $(TAKEN) $(ALWAYS),$(GIVEN)))=. $(if $(TAKEN),It takes $(TAKEN:%=%=),Leave it out))
endif
endif
endif

NAMED = $(if $(NAME),--name "$(NAME)")
BY_SETTINGS = $(NAMED) $(if $(SETTINGS),--settings "$(SETTINGS)")
YOURS = $(NAMED) $(if $(COMPETITION),--competition "$(COMPETITION)") $(if $(MODELS),--models "$(MODELS)") \
	$(if $(RECIPE),--recipe "$(RECIPE)") $(if $(MEMORY),--memory "$(MEMORY)")

.DEFAULT_GOAL := help
.PHONY: help new dry-run shell test test-py313 format types lint house lock audit schema licences docs kernel-dataset weights-dataset look folds cuts train validate tune shift predict engine scheduler worker runs tensorboard notebook doctor prepare push status logs forget submit queue submissions download-data bench gpu-check gpu-wheels clean

help:  ## this list, and what make help-train says about one of them
	@sed -nE -e 's/^# ---- ([^:]*)$$/\n\1/p' -e 's/^([a-z0-9-]+):[^#]*## ([^(]*[^( ]).*/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# These are no commands of devkit. What stands behind them is all that there is to say.
PLAIN := help test test-py313 format types house notebook bench clean lock docs scheduler worker
help-%: $(READY)
	@$(if $(filter $*,$(PLAIN)),sed -nE 's/^$*:[^#]*## (.*)/make $*: \1/p' $(MAKEFILE_LIST),$(PYTHON) -m devkit $* --help)

# ---- beginning
new: $(READY)  ## a competition of your own: recipes, settings and what to do next (NAME=my-competition SLUG= FROM=hubmap COMPETITION=folder)
	@$(PYTHON) -m devkit.new $(NAMED) $(if $(SLUG),--slug "$(SLUG)") $(if $(FROM),--from "$(FROM)") $(DATA)

dry-run: $(READY)  ## the whole way to a checked submission, at home (NAME= RECIPE=clouds SIZE=large RERUN=1 WORKERS=n DEVICES="cpu cpu" MEMORY=GiB COMPETITION= MODELS= OWN= PROFILE=)
	@$(PYTHON) -m devkit.dryrun --size $(SIZE) --workers $(WORKERS) --profile $(PROFILE) $(if $(DEVICES),--devices "$(DEVICES)") $(if $(RERUN),--rerun) $(YOURS)

shell: $(READY)  ## a shell in the twin of the image, without a network (NAME= PROFILE= COMPETITION= MODELS= OWN=)
	@$(PYTHON) -m devkit.dryrun.shell --profile $(PROFILE) $(NAMED) $(if $(COMPETITION),--competition "$(COMPETITION)") $(if $(MODELS),--models "$(MODELS)")

# ---- data
DATA = $(if $(COMPETITION),--competition "$(COMPETITION)")

download-data: $(READY)  ## fetch and unpack a competition's files (NAME= SETTINGS= COMPETITION=slug OUTPUT=folder NOTEBOOK=)
	$(KAGGLE) download-data $(WHERE) $(if $(OUTPUT),-o "$(OUTPUT)")

look: $(READY)  ## the images of a competition, before there are models (NAME= COMPETITION=folder RECIPE= IMAGES= JSON=1 WORKERS=)
	@$(PYTHON) -m devkit.training.look $(NAMED) $(DATA) $(if $(RECIPE),--recipe "$(RECIPE)") $(if $(IMAGES),--images "$(IMAGES)") --workers $(WORKERS) $(AS_JSON)

# ---- training
SCHEDULED = $(if $(SCHEDULER),--scheduler "$(SCHEDULER)")
CHANGES = $(foreach change,$(SET),--set "$(change)")
OF_RUNS = $(if $(RECIPE),"$(RECIPE)") $(NAMED) $(DATA) $(CHANGES) $(foreach run,$(RUN),--run "$(run)")

folds: $(READY)  ## divide the training images into folds, and write folds.csv (NAME= RECIPE= COMPETITION= RUN= SET="folds.count=5")
	@$(PYTHON) -m devkit.training.folds $(OF_RUNS)

cuts: $(READY)  ## shrink the training images and list their windows (NAME= RECIPE= COMPETITION= CUTS= RUN= SET= FILES=png SCHEDULER= WORKERS=)
	@$(PYTHON) -m devkit.training.cuts $(OF_RUNS) $(if $(CUTS),--cuts "$(CUTS)") --workers $(WORKERS) $(SCHEDULED) $(if $(FILES),--files "$(FILES)")

train: $(READY)  ## train run folders (NAME= RECIPE= COMPETITION=folder OUTPUT=models RUN= FOLD="0 1" SET="epochs=3 batch=4" CUTS= OWN= WORKERS=)
	@$(PYTHON) -m devkit.training $(OF_RUNS) $(foreach fold,$(FOLD),--fold $(fold)) $(if $(OUTPUT),--output "$(OUTPUT)") $(if $(CUTS),--cuts "$(CUTS)") --workers $(WORKERS)

# ---- evaluation
EXECUTOR = --workers $(WORKERS) $(if $(DEVICES),--devices "$(DEVICES)") $(SCHEDULED)
RUNS = $(or $(MODELS),$(OUTPUT))
OF_FOLDS = $(if $(RECIPE),"$(RECIPE)") $(NAMED) $(DATA) $(if $(RUNS),--models "$(RUNS)") $(CHANGES) $(EXECUTOR)

validate: $(READY)  ## score training images by the folds that held them out, and report (NAME= RECIPE= COMPETITION= MODELS= OUTPUT= SET= WORKERS= DEVICES= SCHEDULER=)
	@$(PYTHON) -m devkit.evaluation validate $(OF_FOLDS)

tune: $(READY)  ## search thresholds, minimum sizes and weights on them (NAME= RECIPE= COMPETITION= MODELS= OUTPUT= SET= SCORE=dice THRESHOLDS=0.2:0.9:0.01 SIZES=0,100 EXCLUDE=image SHARE=class WEIGHTS=1 WRITE=recipe.yaml WORKERS= DEVICES= SCHEDULER=)
	@$(PYTHON) -m devkit.evaluation tune $(OF_FOLDS) $(if $(SCORE),--score "$(SCORE)") $(if $(THRESHOLDS),--thresholds "$(THRESHOLDS)") \
		$(if $(SIZES),--sizes "$(SIZES)") $(foreach image,$(EXCLUDE),--exclude "$(image)") $(if $(SHARE),--share "$(SHARE)") $(if $(WEIGHTS),--weights) $(if $(WRITE),--write "$(WRITE)")

shift: $(READY)  ## whether test images look like training images (NAME= COMPETITION= RECIPE= IMAGES="train/{image}.tiff" MODEL=resnet18 JSON=1)
	@$(PYTHON) -m devkit.evaluation shift $(NAMED) $(DATA) $(if $(RECIPE),--recipe "$(RECIPE)") $(if $(IMAGES),--images "$(IMAGES)") $(if $(MODEL),--model "$(MODEL)") $(AS_JSON)

predict: $(READY)  ## run trained models over images at home: masks and a submission (NAME= RECIPE= COMPETITION=folder MODELS= OUTPUT= MASKS=png WORKERS= DEVICES= SCHEDULER= LIMIT= JSON=1)
	@$(PYTHON) -m devkit.predict $(NAMED) $(if $(RECIPE),"$(RECIPE)") $(DATA) $(if $(MODELS),--models "$(MODELS)") $(if $(OUTPUT),--output "$(OUTPUT)") \
		$(if $(MASKS),--masks "$(MASKS)") $(EXECUTOR) $(if $(LIMIT),--limit "$(LIMIT)") $(AS_JSON)

engine: $(READY)  ## export members as ONNX or AOTInductor, and check each on real tiles (NAME= RECIPE= COMPETITION= MODELS= OUTPUT= FORMAT=aoti ONE=1 HALF=1 DEVICE=cuda:0 TILES=)
	@$(PYTHON) -m devkit.engine $(NAMED) $(if $(RECIPE),"$(RECIPE)") $(DATA) $(if $(MODELS),--models "$(MODELS)") $(if $(OUTPUT),--output "$(OUTPUT)") \
		$(if $(FORMAT),--format "$(FORMAT)") $(if $(ONE),--one) $(if $(HALF),--half) $(if $(DEVICE),--device "$(DEVICE)") $(if $(TILES),--tiles "$(TILES)")

scheduler: $(READY)  ## a scheduler of dask, which deals work to its workers (PORT=8786)
	@.venv/bin/dask scheduler --port $(or $(PORT),8786)

CORES_EACH = $$(( $$(nproc) > $(1) ? $$(nproc) / $(1) : 1 ))
worker: $(READY)  ## workers of a scheduler, on each machine (SCHEDULER=tcp://machine:8786 WORKERS=n, or GPU=0 for one with that GPU)
	@DASK_DISTRIBUTED__WORKER__DAEMON=False OMP_NUM_THREADS=$(call CORES_EACH,$(if $(GPU),1,$(WORKERS))) $(if $(GPU),CUDA_VISIBLE_DEVICES="$(GPU)") \
		.venv/bin/dask worker "$(SCHEDULER)" --nthreads 1 --memory-limit 0 $(if $(GPU),--nworkers 1 --resources GPU=1,--nworkers $(WORKERS))

runs: $(READY)  ## a table of trained runs, with their scores here and on the leaderboard (NAME= MODELS=folder JSON=1 OUTPUT=)
	@$(PYTHON) -m devkit.training.runs $(if $(RUNS),"$(RUNS)") $(NAMED) $(AS_JSON)

tensorboard: $(READY)  ## curves and pictures of the trainings in a browser (NAME= MODELS=folder OUTPUT=)
	@$(PYTHON) -m devkit.training.tensorboard $(if $(RUNS),"$(RUNS)") $(NAMED)

notebook: $(NOTEBOOKS)  ## JupyterLab with kernelkit, in the folder of the notebooks
	@PYTHONPATH="$(CURDIR)/kernel_src" .venv-notebook/bin/jupyter lab --notebook-dir notebooks

# ---- Kaggle
KAGGLE = @$(PYTHON) -m devkit.kaggle $(BY_SETTINGS) $(if $(NOTEBOOK),--notebook "$(NOTEBOOK)")
WHERE = $(if $(COMPETITION),-c "$(COMPETITION)")
SUBMIT = $(WHERE) $(if $(MESSAGE),-m "$(MESSAGE)") $(if $(AGAIN),--again)

kernel-dataset: $(READY)  ## pack modules and wheels for an image, and prove it (NAME= SETTINGS= PROFILE=kaggle-py312 OWN=folder UPGRADE=1)
	@$(PYTHON) build_dataset.py $(BY_SETTINGS) --profile $(PROFILE) $(if $(UPGRADE),--upgrade)

weights-dataset: $(READY)  ## pack trained runs as safetensors (NAME= SETTINGS= MODELS=folder RECIPE= OWN=)
	@$(PYTHON) -m devkit.dataset.weights $(if $(MODELS),"$(MODELS)") $(BY_SETTINGS) $(if $(RECIPE),--recipe "$(RECIPE)")

doctor: $(READY)  ## what is missing before a push to Kaggle can succeed, and the next step (NAME= SETTINGS= JSON=1 NOTEBOOK=)
	$(KAGGLE) doctor $(AS_JSON)

prepare: $(READY)  ## write the notebook's folder below build/, to be pushed by hand (NAME= SETTINGS= NOTEBOOK=)
	$(KAGGLE) prepare

push: $(READY)  ## upload the datasets if they changed, push the notebook (NAME= SETTINGS= NOTEBOOK=train, validate or engine)
	$(KAGGLE) push

status: $(READY)  ## how the notebook is doing on Kaggle (NAME= SETTINGS= NOTEBOOK=)
	$(KAGGLE) status

logs: $(READY)  ## follow its log to the end, check it and fetch what it wrote (NAME= SETTINGS= NOTEBOOK=)
	$(KAGGLE) logs

submit: $(READY)  ## push, run, submit, wait for the score (NAME= SETTINGS= COMPETITION= MESSAGE= FILE= AGAIN=1 NOTEBOOK=)
	$(KAGGLE) submit $(SUBMIT) $(if $(FILE),-f "$(FILE)")

queue: $(READY)  ## submit several CSV files, as many as the day allows (NAME= SETTINGS= FILES="a.csv b.csv" COMPETITION= MESSAGE= NOTEBOOK= AGAIN=1)
	$(KAGGLE) queue $(SUBMIT) $(FILES)

submissions: $(READY)  ## the ledger beside what Kaggle lists (NAME= SETTINGS= COMPETITION= JSON=1 NOTEBOOK=)
	$(KAGGLE) submissions $(WHERE) $(AS_JSON)

# ---- tidying up
forget: $(READY)  ## what is kept on this machine, and how large it is (WHAT="twins demo" removes it, YES=1 at once)
	@$(PYTHON) -m devkit.forget $(WHAT) $(if $(YES),--yes)

clean:  ## remove all that was made, but for the environment
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# ---- a machine with a GPU
# Such a machine needs neither make nor this environment: `python3 -m devkit.gpu` is the same.
GPU_PYTHON = $(if $(filter command line,$(origin PYTHON)),$(PYTHON),$(firstword $(wildcard $(PYTHON)) python3))

gpu-check:  ## run the tests of a GPU and the benchmark of ensembles (WHEELS=folder PYTHON=python3 MINUTES=30 QUICK=1)
	@$(GPU_PYTHON) -m devkit.gpu $(if $(WHEELS),--wheels "$(WHEELS)") $(if $(MINUTES),--minutes "$(MINUTES)") $(if $(QUICK),--quick)

gpu-wheels: $(READY)  ## gather the wheels that such a machine lacks (TAG=cp312 WITH="numba scipy" WHEELS=folder)
	@$(PYTHON) -m devkit.gpu.gather $(if $(TAG),--tag "$(TAG)") $(if $(WHEELS),--output "$(WHEELS)") $(if $(WITH),--with $(WITH))

# ---- working on kernelkit
test: $(READY) lint  ## lint, then every test, two at a time (FAST=1 leaves the slow ones out, PROFILE=)
	@$(PYTHON) -m pytest $(PYTEST)

test-py313: $(READY_313)  ## every test again with Python 3.13 and the versions of Kaggle's next image (FAST=1)
	@.venv-py313/bin/python -m pytest $(PYTEST)

format: $(READY)  ## format the code, and mend what ruff can mend
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

types: $(READY)  ## check the types
	@$(PYTHON) -m mypy

lint: $(READY)  ## formatting, ruff, types, the import rule, and what the image has (PROFILE=)
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON) -m devkit.lint --profile $(PROFILE)

house: $(READY)  ## the rules of the form: docstrings, messages, names, examples
	@$(PYTHON) -m pytest -n 2 tests/test_house.py tests/test_library.py

audit: $(READY) $(AUDITOR)  ## every lock against the advisories that the registry knows (needs the network)
	@$(PYTHON) -m devkit.audit

schema: $(READY)  ## write JSON schemas for editors, and the keys of recipes into docs/
	@$(PYTHON) -m devkit.reference

licences: $(READY)  ## write docs/licences.md from what the installed packages state
	@$(PYTHON) -m devkit.licences

docs: $(READY)  ## build the documentation's site into build/site, with every link checked
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict
	@echo "build/site/index.html"

bench: $(BENCHED)  ## speed and memory beside the field's tools, one table per subject (ONLY="mask canvas")
	@for subject in $(ONLY); do PYTHONPATH=kernel_src:. .venv-bench/bin/python benchmarks/bench_$$subject.py || exit 1; done

# ---- the environment: first uv, then .venv from the hashed lock
.tools/uv/bin/uv: requirements/uv.txt
	@echo "fetching uv into .tools/"
	@python3 -m pip install --quiet --disable-pip-version-check --require-hashes --upgrade --target .tools/uv -r $< || \
		{ echo "uv was not fetched. That takes the internet and a python3 with pip, or have uv on PATH" >&2; exit 1; }
	@touch $@

# Make the environment that $@ lies in from the hashed lock $<.
PYTHON_VERSION = 3.12
define MAKE_ENVIRONMENT
@test "$$(uname)" = Linux || { echo "kernelkit needs Linux, found $$(uname). Take a container, or WSL2 on Windows" >&2; exit 1; }
@$(UV) venv --quiet --allow-existing --python $(PYTHON_VERSION) $(@D)
@$(UV) pip sync --require-hashes --python $(@D)/bin/python $<
@touch $@
endef

$(READY): requirements/dev.txt $(INSTALLER)
	@echo "making .venv with the image's versions (about 3 GB to fetch the first time)"
	$(MAKE_ENVIRONMENT)

$(READY_313): PYTHON_VERSION = 3.13
$(READY_313): requirements/dev-py313.txt $(INSTALLER)
	@echo "making .venv-py313 with the versions of Kaggle's next image"
	$(MAKE_ENVIRONMENT)

$(AUDITOR): requirements/audit.txt $(INSTALLER)
	@echo "making .venv-audit, with what asks the registry"
	$(MAKE_ENVIRONMENT)

$(BENCHED): requirements/bench.txt $(INSTALLER)
	@echo "making .venv-bench, with what the benchmarks compare with"
	$(MAKE_ENVIRONMENT)

$(NOTEBOOKS): requirements/notebook.txt $(INSTALLER)
	@echo "making .venv-notebook, with JupyterLab beside what .venv has"
	$(MAKE_ENVIRONMENT)

# What is locked is what was reviewed. A lock holds one hash per file, and no address.
LOCK = $(UV) pip compile --quiet --generate-hashes --no-emit-index-url $(if $(UPGRADE),--upgrade)
ON_KAGGLE = --python-platform x86_64-manylinux_2_35 --python-version

lock: $(INSTALLER)  ## resolve requirements/*.in into the hashed locks beside them (UPGRADE=1 for newer versions)
	$(LOCK) $(ON_KAGGLE) 3.12 requirements/dev.in -o requirements/dev.txt
	$(LOCK) $(ON_KAGGLE) 3.13 --override requirements/dev-py313.in requirements/dev.in -o requirements/dev-py313.txt
	$(LOCK) $(ON_KAGGLE) 3.12 -c requirements/dev.txt requirements/bench.in -o requirements/bench.txt
	$(LOCK) $(ON_KAGGLE) 3.12 -c requirements/dev.txt requirements/notebook.in -o requirements/notebook.txt
	$(LOCK) $(ON_KAGGLE) 3.12 requirements/audit.in -o requirements/audit.txt

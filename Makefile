# Each target is one line of Python; what comes before it is the environment, made once.
PYTHON := .venv/bin/python
UV := $(or $(shell command -v uv),.tools/uv/bin/uv)
READY := .venv/.made-from-requirements

# the package lies below kernel_src, as it does on Kaggle below its dataset
export PYTHONPATH := kernel_src
# threads that wait for each other sleep instead of spinning: on a busy machine that is twice as fast
export OMP_WAIT_POLICY ?= PASSIVE

SIZE ?= small
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help dry-run test lint bench clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 18

dry-run: $(READY)  ## the whole way to a checked submission, at home (SIZE=large, RERUN=1, WORKERS=n)
	@$(PYTHON) -m devkit.dryrun --size $(SIZE) --workers $(WORKERS) $(if $(RERUN),--rerun)

test: $(READY) lint  ## lint, then every test, two at a time
	@$(PYTHON) -m pytest -n 2 --dist worksteal

lint: $(READY)  ## formatting, linting and types
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy kernel_src/kernelkit

clean:  ## remove all that was made, but for the environment
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

# ---- the environment: uv, then .venv from the hashed lock
.tools/uv/bin/uv: requirements/uv.txt
	@echo "fetching uv into .tools/"
	@python3 -m pip install --quiet --disable-pip-version-check --require-hashes --upgrade --target .tools/uv -r $<
	@touch $@

$(READY): requirements/dev.txt $(if $(findstring .tools,$(UV)),.tools/uv/bin/uv)
	@echo "making .venv with the image's versions (about 3 GB to fetch the first time)"
	@$(UV) venv --quiet --allow-existing --python 3.12 .venv
	@$(UV) pip sync --require-hashes --python .venv/bin/python $<
	@touch $@

# make lab    everything that a reader needs, then JupyterLab on the first notebook
# make audit  known holes in the installed packages; without a network it says that nothing was looked up
# make test   what a contributor checks: minutes
# make test-all   that, and the browser, several processes, kills, the book and Colab's versions
# make PYTHON=python3.12 lab   with another Python

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FIRST := notebooks/00_start_here.ipynb
PIP := $(BIN)/python -m pip --disable-pip-version-check

find_python = $(firstword $(foreach p,python$(1) $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python),\
  $(shell $(p) -c '' 2>/dev/null && echo $(p))))
COLAB := .venv-colab
COLAB_PYTHON ?= $(call find_python,3.12)
NEWEST := .venv-newest
NEWEST_PYTHON ?= $(call find_python,3.13)

# Two processes of one thread each beat one of many.
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

.PHONY: bench claims faults lab test test-all test-numerics unit notebooks-test slow-test browser-test lint types notebooks book screenshots \
  colab colab-test newest-test audit clean

lab: $(VENV)/lab.done
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/$(FIRST)

test: lint types # in one go, so that neither of the two processes waits for the other at the end
	$(TEST) --nbval -m "not slow" tests notebooks

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test.done # of the library and the kit; seconds
	$(BIN)/pyrefly check

unit: $(VENV)/test.done
	$(TEST) -m "not slow" tests

notebooks-test: $(VENV)/test.done
	$(TEST) --nbval notebooks

# Two lanes at a time, because browsers and kills wait a lot; where make can, each lane is shown when it has ended.
test-all: test # and Colab's versions, where there is a Python 3.12
	$(if $(COLAB_PYTHON),,@echo "Skipped: Colab's versions need Python 3.12, and none was found. Name one: make test-all COLAB_PYTHON=path")
	$(MAKE) -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) \
	  slow-test browser-test $(if $(COLAB_PYTHON),colab-test)

slow-test: $(VENV)/test.done # several processes, kills, installations
	$(TEST) -m slow tests

browser-test: $(VENV)/test.done # every notebook, panel and page of the book in Chromium
	$(TEST) tests/browser

test-numerics: $(VENV)/test.done # instruction set x threads x failures: hours; OPTIONS="--set avx2 --threads 1"
	$(BIN)/python tools/numerics.py $(OPTIONS)

notebooks: $(VENV)/test.done # run every notebook from top to bottom and store one clean run
	$(BIN)/python tools/run_notebooks.py

book: $(VENV)/test.done # the notebooks as pages with panels that move, in book/; minutes at first. REPO=owner/name TAG=v1.0: with links to Colab
	$(BIN)/python -m tools.book $(if $(REPO),'--repo=$(REPO)' '--tag=$(TAG)')

screenshots: $(VENV)/test.done # NOTEBOOKS=03_forward_noising: how they look in JupyterLab, light and dark
	$(BIN)/python -m tools.screenshots $(NOTEBOOKS)

colab: $(VENV)/test.done # REPO=owner/name TAG=v1.0: badge and installing cell into every notebook; REMOVE=1: out again
	@$(BIN)/python tools/colab.py $(if $(REMOVE),--remove,'--repo=$(REPO)' '--tag=$(TAG)')

colab-test: $(COLAB)/colab.done # run every notebook and move every panel with Colab's versions; takes minutes
	$(COLAB)/bin/python tools/colab_lane.py

newest-test: # every test but the browser's, with the newest versions of everything; takes minutes
	@test -n '$(NEWEST_PYTHON)' || { \
	  echo "Python 3.13 is needed, and none was found. Install it, or name one: make newest-test NEWEST_PYTHON=path"; exit 1; }
	$(NEWEST_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e ".[test]"
	$(NEWEST)/bin/pytest tests
	$(NEWEST)/bin/pytest --nbval notebooks

faults: $(VENV)/test.done # kills, full disks and spoilt files, counted; minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.faults
	$(BIN)/python -m tests.benchmarks.bad_inputs

bench: $(VENV)/test.done # ours beside what people would pick instead: a table and a picture in assets/; minutes, on an idle machine
	$(PIP) install --quiet -c constraints.txt denoising-diffusion-pytorch || echo "denoising-diffusion-pytorch could not be fetched"
	$(BIN)/python -m tests.benchmarks.bench

claims: $(VENV)/test.done # every number that the notebooks claim, found anew and written down; an hour
	$(BIN)/python -m tools.claims

audit: $(VENV)/test.done
	$(PIP) install --quiet -c constraints.txt "pip-audit>=2.7" || echo "pip-audit could not be fetched"
	@$(BIN)/python -m tools.audit

clean:
	rm -rf $(VENV) $(COLAB) $(NEWEST)

$(VENV)/python.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing. Name one: make lab PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/lab.done: $(VENV)/python.done constraints.txt pyproject.toml
	$(PIP) install -c constraints.txt -e ".[lesson]"
	@touch $@

$(VENV)/test.done: $(VENV)/python.done constraints.txt pyproject.toml
	$(PIP) install -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/lab.done

$(COLAB)/colab.done: tools/colab_versions.txt
	@test -n '$(COLAB_PYTHON)' || { \
	  echo "Python 3.12 is needed, and none was found. Install it, or name one: make colab-test COLAB_PYTHON=path"; exit 1; }
	$(COLAB_PYTHON) -m venv --clear $(COLAB)
	$(COLAB)/bin/python -m pip install --quiet -r tools/colab_versions.txt
	@touch $@

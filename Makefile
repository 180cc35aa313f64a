# make lab    everything that a reader needs, then JupyterLab on the first notebook
# make test   everything that a contributor checks
# make PYTHON=python3.12 lab   with another Python

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FIRST := notebooks/00_start_here.ipynb
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: lab test unit notebooks-test lint notebooks clean

lab: $(VENV)/lab.done
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/$(FIRST)

test: lint unit notebooks-test

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

unit: $(VENV)/test.done
	$(BIN)/pytest tests

notebooks-test: $(VENV)/test.done
	$(BIN)/pytest --nbval notebooks

notebooks: $(VENV)/test.done # run every notebook from top to bottom and store one clean run
	$(BIN)/python tools/run_notebooks.py

clean:
	rm -rf $(VENV)

$(VENV)/python.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing. Name one: make lab PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/lab.done: $(VENV)/python.done requirements.txt constraints.txt pyproject.toml
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/test.done: $(VENV)/python.done requirements.txt constraints.txt pyproject.toml
	$(PIP) install -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/lab.done

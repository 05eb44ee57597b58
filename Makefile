# The two commands: `make run` and `make test`. Both work from a clone with Python ≥ 3.11, its venv module and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run test lab lab-smoke lint check bench screenshots clean openapi

run: $(VENV)/.run
	@exec $(BIN)/python run.py

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# piapi installed in a Debian guest under QEMU (docs/lab.md); wants root, and names the packages that are missing.
lab: $(VENV)/.test
	$(BIN)/python -m pytest -rP -n 2 --dist loadfile tests/lab $(PYTEST_ARGS)

lab-smoke: $(VENV)/.test
	$(BIN)/python -m pytest -rP -m smoke tests/lab $(PYTEST_ARGS)

lint: $(VENV)/.check
	if command -v shellcheck >/dev/null; then shellcheck .ci/run systemd/*.sh; fi
	systemd/check.sh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# Every page as a phone and a desktop show it, light and dark; wants chromium.
screenshots: $(VENV)/.test
	$(BIN)/python -m tests.screenshots screenshots

# The committed copy of the OpenAPI document, which a test holds to what the code says.
openapi: $(VENV)/.run
	$(BIN)/piapi openapi > docs/openapi.json

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[check]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

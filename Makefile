# make demo: set up and scan sample_library/.   make check: lint, types, fast tests.   make test: everything.
BIN := .venv/bin
DEMO_DB := demo.db
REQUIREMENTS := pyproject.toml constraints.txt scripts/install.sh

.PHONY: setup dev demo lint check test wheel clean

setup: .venv/.ready
dev: .venv/.ready-dev

.venv/.ready: $(REQUIREMENTS)
	sh scripts/install.sh

.venv/.ready-dev: $(REQUIREMENTS)
	sh scripts/install.sh dev

demo: setup
	$(BIN)/photoage --db $(DEMO_DB) scan sample_library
	$(BIN)/photoage --db $(DEMO_DB) query
	$(BIN)/photoage --db $(DEMO_DB) errors

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

# What is slow measures time limits, kills and clusters, and has the machine to itself.
test: check
	$(BIN)/python -m pytest -m slow

wheel: dev
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf .venv build dist $(DEMO_DB)*

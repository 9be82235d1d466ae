# make demo: set up and scan sample_library/.   make check: lint, types, fast tests.   make test: everything.
BIN := .venv/bin
# Tests start many Python processes: their bytecode is kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
DEMO_DB := demo.db
REQUIREMENTS := pyproject.toml constraints.txt scripts/install.sh

.PHONY: setup dev demo lint fast check slow test wheel clean

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

fast: dev
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup

check: dev
	$(MAKE) --jobs=2 lint fast

# Two at a time, whatever the machine: what is slow starts processes of its own, and waits for some of them.
slow: dev
	$(BIN)/python -m pytest -m slow -n 2 --dist loadgroup

test: check
	$(MAKE) slow

wheel: dev
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf .venv build dist $(DEMO_DB)*

# Each target makes its own environment in .venv on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint bench experiments clean

demo: $(STAMP)
	$(BIN)/shieldwall demo

# Runs flush what must survive a power cut, and tests make hundreds of runs: in memory that costs nothing.
SCRATCH := $(shell df -k /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 {print "/dev/shm"}')

test: lint
	scratch=$$(mktemp -d $(SCRATCH:%=--tmpdir=%)); \
	TMPDIR=$$scratch $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder; \
	code=$$?; rm -rf $$scratch; exit $$code

lint: $(STAMP)
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m shieldwall.lab.bench --out docs/results

experiments: bench
	$(BIN)/python -m shieldwall.lab.shield_property --runs 2000 --out docs/results
	$(BIN)/python -m shieldwall.lab.recovery --out docs/results
	$(BIN)/python -m shieldwall.lab.recovery --storm 100 --out docs/results
	$(BIN)/python -m shieldwall.lab.churn --out docs/results
	for name in vulnerability defence detection map; do $(BIN)/shieldwall experiment $$name --out docs/results || exit 1; done

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# make install | case-study | test | report | lab | notebooks | lock | clean
# Everything runs from .venv, made from requirements.lock on the first call.

PYTHON ?= python3
BIN := .venv/bin
OUT := build/case-study

.PHONY: install case-study test lint report lab notebooks lock clean
.DELETE_ON_ERROR:

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) found; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

case-study: install
	$(BIN)/cift case-study --study embedded --jobs 2 --json $(OUT)/embedded.json --figure $(OUT)/embedded
	$(BIN)/cift notebook 12_rte_case_study --profile full --out $(OUT)

# Unit tests, every notebook with the quick profile (papermill), and its stable outputs against the committed ones (nbval).
# Two files at a time, a core each: two that share cores would wait for each other.
test: install lint
	CIFT_QUIET=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n 2 --dist loadfile --nbval-lax tests notebooks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The claims, tables and figures of the records in results/, as one page.
report: install
	$(BIN)/cift report --records results --out build/report.html

lab: install
	$(BIN)/jupyter lab --notebook-dir notebooks

# Build the notebooks from their scripts and execute them in place, as they are committed.
notebooks: install
	$(BIN)/python -m cift.notebooks

# Pin what pyproject.toml asks for, as resolved in a fresh environment.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check --editable .[notebooks,dev]
	{ echo "# Every package at the version that the tests passed with; written by make lock."; \
	  build/lock/bin/python -m pip list --format=freeze --exclude cift --exclude pip \
	  | sed -E -e 's/\+cpu$$//' -e 's/^(py-irt|pyro-ppl|pyro-api|opt_einsum|ordered-set|toml)==.*/&; python_version < "3.12"/'; \
	} > requirements.lock

clean:
	rm -rf build .venv

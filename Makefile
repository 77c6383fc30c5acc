# Every target sets up what it needs in a virtual environment of its own, first.
PYTHON ?= python3
VENV ?= .venv
BARE ?= .venv-bare
BARE_NUMPY ?= numpy

BUILD := pyproject.toml meson.build constraints.txt
SOURCES := $(shell find src -name '*.py' -o -name 'meson.build' -o -name 'py.typed')

.PHONY: demo test bare check format clean

demo: $(VENV)/.installed
	$(VENV)/bin/python examples/ml_pipeline.py

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest

bare: $(BARE)/.installed
	$(BARE)/bin/python -m pytest tests/core

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(BARE) build dist

# The package is installed, not linked, so that the tests see what a user gets.
$(VENV)/.installed: $(VENV)/.requirements $(SOURCES)
	$(VENV)/bin/pip install --quiet --no-deps --force-reinstall .
	touch $@

$(VENV)/.requirements: $(BUILD)
	$(call new_venv,$(VENV))
	$(VENV)/bin/pip install --quiet --constraint constraints.txt '.[dev]'
	touch $@

# NumPy and no framework, nor ml_dtypes. BARE_NUMPY chooses the version of NumPy.
$(BARE)/.installed: $(BUILD) $(SOURCES)
	$(call new_venv,$(BARE))
	$(BARE)/bin/pip install --quiet . '$(BARE_NUMPY)' pytest hypothesis
	touch $@

define new_venv
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || \
	  { echo "$(PYTHON) -m venv failed; on Debian: apt install python3-venv" >&2; exit 1; }
endef

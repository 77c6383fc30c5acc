# Every target sets up what it needs in a virtual environment of its own, first.
PYTHON ?= python3
VENV ?= .venv
BARE ?= .venv-bare
BARE_NUMPY ?= numpy
BARE_OPTIONS ?=
FUZZ_SECONDS ?= 3600
FUZZ_JOBS ?= 2
FUZZ_SEED ?= $(shell date +%s)

BUILD := pyproject.toml meson.build constraints.txt
SOURCES := $(shell find src -name '*.py*' -o -name '*.pxd' -o -name '*.h' -o -name 'meson.build' \
  -o -name 'py.typed')
NATIVE_TESTS := $(addprefix tests/core/test_,dlpack.py liars.py deleters.py tables.py sums.py \
  gather.py dropped.py changes.py lazy.py) \
  $(addprefix tests/frameworks/test_,from_torch.py torch_table.py from_arrow.py to_arrow.py \
  roundtrips.py)
IS_SANITIZED := import numpack._dlpack.exporting as e; assert \"sanitized\" in e.__file__, e; \
  assert \"libasan\" in open(\"/proc/self/maps\").read()

.PHONY: demo test bare crash fuzz check bench matrix matrix-check sanitize leaks wheel format clean

demo: $(VENV)/.installed
	$(VENV)/bin/python examples/ml_pipeline.py

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest

bare: $(BARE)/.installed
	$(BARE)/bin/python -m pytest tests/core $(BARE_OPTIONS)

# All that CI does in short: every call of every operation struck in every way, thousands of
# kills, a million appends, 10,000 losses of power for each kind of change, and a disk that is full
# and a file system that loses power for real.
crash: $(VENV)/.installed
	CRASH=1 $(VENV)/bin/python -m pytest $(addprefix tests/core/test_,faults.py kills.py \
	  damage.py read_only.py crash.py power_loss.py)
	PYTHONPATH=tests $(VENV)/bin/python -W error -m support.full_disk
	CRASH=1 PYTHONPATH=tests $(VENV)/bin/python -m support.lost_power

# Stores, folders of 0.x and safetensors files whose claims are changed, opened and used in every
# way. What is found is saved in build/fuzz: FUZZ="--replay build/fuzz/…" tries it again.
fuzz: $(VENV)/.installed
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m fuzz --seed $(FUZZ_SEED) \
	  --seconds $(FUZZ_SECONDS) --jobs $(FUZZ_JOBS) $(FUZZ)

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.bench $(VENV)/.installed
	$(VENV)/bin/python benchmarks/exchange.py --json benchmarks/exchange.json --readme README.md
	$(VENV)/bin/python benchmarks/store.py --json benchmarks/store.json --readme README.md \
	  --page docs/benchmarks.md --plot docs/store.svg

# What is shared, by dtype, layout and framework, for the versions that the constraints name.
matrix: $(VENV)/.installed
	$(VENV)/bin/python tools/matrix.py docs/matrix.md

# The page in docs/ has to be the one that `make matrix` writes.
matrix-check: $(VENV)/.installed
	$(VENV)/bin/python tools/matrix.py --check docs/matrix.md

# The tests of the native modules on a build that finds misused memory and undefined behaviour. It
# needs gcc and its libasan and libubsan, which come with it; Python itself is not rebuilt.
sanitize: export ASAN_OPTIONS = detect_leaks=0:allocator_may_return_null=1
sanitize: export UBSAN_OPTIONS = halt_on_error=1:print_stacktrace=1
sanitize: $(VENV)/.requirements
	rm -rf build/sanitized
	CC=gcc $(VENV)/bin/pip install --quiet --no-deps --target build/sanitized . \
	  -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false \
	  -Csetup-args=-Dbuildtype=debugoptimized
	PYTHONPATH=build/sanitized PYTHONMALLOC=malloc \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	  sh -c '$(VENV)/bin/python -c "$(IS_SANITIZED)" && \
	  $(VENV)/bin/python -m pytest -p no:cacheprovider $(NATIVE_TESTS) && \
	  PYTHONPATH=build/sanitized:tests OPENBLAS_NUM_THREADS=1 \
	  ASAN_OPTIONS=$$ASAN_OPTIONS:max_allocation_size_mb=4096 \
	  $(VENV)/bin/python -m fuzz --seed 0 --seconds 60'

# What each route leaves behind after 10,000 passes: objects, memory, references.
leaks: $(VENV)/.installed
	$(VENV)/bin/python -m pytest tests/frameworks/test_lifetimes.py -k leak

wheel: $(VENV)/.requirements
	rm -rf dist
	$(VENV)/bin/python -m build --outdir dist .

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

# The formats that the store is compared with, for `make bench` alone.
$(VENV)/.bench: $(VENV)/.requirements benchmarks/constraints.txt
	$(VENV)/bin/pip install --quiet --constraint constraints.txt \
	  --constraint benchmarks/constraints.txt '.[bench]'
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

# Every target first sets up the virtual environment that it needs.
PYTHON ?= python3
VENV ?= .venv
BARE ?= .venv-bare
BARE_NUMPY ?= numpy
BARE_TESTS ?= tests/allocation tests/core tests/dlpack tests/shared_memory tests/store tests/data/loader \
  tests/data/kernels tests/data/dataset $(wildcard tests/data/test_*.py) tests/doctor tests/package/bare
BARE_OPTIONS ?=
# What is installed: the sources, or a wheel that `make wheel` has built of them.
PACKAGE ?= .
# Options of `python -m wheels`, and the versions of Python that `make wheels-test` tests.
WHEELS ?=
WHEEL_PYTHONS ?= 3.11 3.12 3.13
TEST_JOBS ?= 2
FUZZ_SECONDS ?= 3600
FUZZ_JOBS ?= 2
FUZZ_SEED ?= $(shell date +%s)

BUILD := pyproject.toml meson.build constraints.txt
SOURCES := $(shell find src -name '*.py' -o -name '*.py[ix]' -o -name '*.px[di]' -o -name '*.h' \
  -o -name 'meson.build' -o -name 'py.typed') $(filter %.whl,$(PACKAGE))
NATIVE_TESTS := tests/allocation tests/dlpack tests/adapters/torch \
  $(addprefix tests/adapters/arrow/test_,to_numpy.py nulls.py producers.py from_numpy.py \
  requested_types.py arrow_arrays.py) $(addprefix tests/io/test_,functions.py constructors.py roundtrips.py) \
  $(addprefix tests/store/,kernels rows lazy packages fs/test_locks.py fs/test_forks.py \
  format/log/test_state.py format/log/test_lines.py format/log/test_torn_lines.py \
  format/log/test_ordinary_lines.py \
  api/test_update_clone_reset.py) tests/core/test_keeping_alive.py \
  $(addprefix tests/data/,kernels/test_copying.py kernels/test_buffers.py \
  $(addprefix loader/test_,order.py resume.py sharing.py sequences.py snapshot.py))
INSTALL_CHROMIUM := apt-get install --yes -qq --no-install-recommends chromium-headless-shell > /dev/null
IS_SANITIZED := import numpack._dlpack.exporting as e; assert \"sanitized\" in e.__file__, e; \
  assert \"libasan\" in open(\"/proc/self/maps\").read()

.PHONY: demo test planned bare faults crash fuzz check bench limits matrix matrix-check browser-tests notebooks \
  docs docs-serve sanitize leaks wheel wheels wheels-test format clean

demo: $(VENV)/.installed
	$(VENV)/bin/python -W error examples/ml_pipeline.py
	$(VENV)/bin/python -W error examples/train.py
	$(VENV)/bin/python -W error examples/tokens.py

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -n $(TEST_JOBS) --dist worksteal

# The tests that compare `explain` with addresses, bytes and warnings, without the fast path.
planned: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -n $(TEST_JOBS) --dist worksteal --no-fast-path \
	  tests/adapters tests/io/pairs/test_pairs.py

bare: $(BARE)/.installed
	$(BARE)/bin/python -m pytest $(BARE_TESTS) $(BARE_OPTIONS)

# A fault of each kind at every system call of every operation that changes a store.
faults: $(VENV)/.installed
	CRASH=1 $(VENV)/bin/python -m pytest -n $(TEST_JOBS) tests/store/crash/test_faults.py

# The crash tests that `make test` runs in short form: a fault of every kind at every system call of every
# operation, thousands of kills, a million appends, 10,000 power losses for each kind of change, a
# really full disk, and power losses on a real file system.
crash: $(VENV)/.installed
	CRASH=1 $(VENV)/bin/python -m pytest $(addprefix tests/store/,crash format/log fs/test_read_only.py \
	  fs/test_forks.py numpack0/test_arbitrary_damage.py api/test_model.py)
	PYTHONPATH=tests $(VENV)/bin/python -W error -m support.crash.full_disk
	CRASH=1 PYTHONPATH=tests $(VENV)/bin/python -m support.crash.power_loss_ext4

# Mutated stores, folders of NumPack 0.x and safetensors files, opened and used in every way.
# Findings are saved in build/fuzz; FUZZ="--replay build/fuzz/…" replays one.
fuzz: $(VENV)/.installed
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m fuzz --seed $(FUZZ_SEED) \
	  --seconds $(FUZZ_SECONDS) --jobs $(FUZZ_JOBS) $(FUZZ)

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.bench $(VENV)/.installed
	$(VENV)/bin/python benchmarks/exchange.py --json benchmarks/exchange.json --readme docs/speed.md
	$(VENV)/bin/python benchmarks/routes.py --json benchmarks/routes.json --readme docs/speed.md \
	  --page docs/benchmarks.md
	$(VENV)/bin/python benchmarks/store.py --json benchmarks/store.json --readme docs/speed.md \
	  --page docs/benchmarks.md --plot docs/store.svg
	$(VENV)/bin/python benchmarks/loader.py --json benchmarks/loader.json --readme docs/speed.md \
	  --page docs/benchmarks.md --plot docs/loader.svg
	$(VENV)/bin/python benchmarks/allocation.py --json benchmarks/allocation.json \
	  --page docs/benchmarks.md

# Ratios to the frameworks' own calls, which must not exceed their limits. To be run alone.
limits: $(VENV)/.installed
	$(VENV)/bin/python benchmarks/limits.py

# What is shared by dtype, layout and framework, for the pinned versions: the table of
# docs/will-it-copy, and docs/matrix.md.
matrix: $(VENV)/.installed
	$(VENV)/bin/python tools/matrix.py

# The files in docs/ have to be those that `make matrix` writes.
matrix-check: $(VENV)/.installed
	$(VENV)/bin/python tools/matrix.py --check

# docs/will-it-copy in a real browser. On Debian, as root, this installs Chromium if there is none.
browser-tests: $(VENV)/.browser $(VENV)/.installed
	$(VENV)/bin/python -m pytest --with-browser tests/browser

# The tests of the native modules on a build with AddressSanitizer and UndefinedBehaviorSanitizer.
# It needs gcc with its libasan and libubsan; Python itself is not rebuilt.
sanitize: export ASAN_OPTIONS = detect_leaks=0:allocator_may_return_null=1
sanitize: export UBSAN_OPTIONS = halt_on_error=1:print_stacktrace=1
sanitize: $(VENV)/.requirements
	rm -rf build/sanitized
	CC=gcc $(VENV)/bin/pip install --quiet --no-deps --target build/sanitized . \
	  -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false \
	  -Csetup-args=-Ddebug=true -Csetup-args=-Doptimization=g
	PYTHONPATH=build/sanitized PYTHONMALLOC=malloc \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	  sh -c '$(VENV)/bin/python -c "$(IS_SANITIZED)" && \
	  $(VENV)/bin/python -m pytest -n $(TEST_JOBS) --dist worksteal -p no:cacheprovider $(NATIVE_TESTS) && \
	  PYTHONPATH=build/sanitized:tests OPENBLAS_NUM_THREADS=1 \
	  ASAN_OPTIONS=$$ASAN_OPTIONS:max_allocation_size_mb=4096 \
	  $(VENV)/bin/python -m fuzz --seed 0 --seconds 30'

# The site, in build/site; it fails for a broken link and for what tools/docsite_check.py finds.
.PHONY: docs docs-serve
docs: $(VENV)/.installed
	$(VENV)/bin/python tools/docsite.py build

# The site at http://localhost:8000, built again whenever a page changes.
docs-serve: $(VENV)/.installed
	$(VENV)/bin/python tools/docsite.py serve

# Leaks of each route after 10,000 passes: objects, memory, references.
leaks: $(VENV)/.installed
	PASSES=10000 $(VENV)/bin/python -m pytest tests/io/lifetimes/test_leaks.py

wheel: $(VENV)-build/.installed
	rm -rf dist
	$(VENV)-build/bin/python -m build --outdir dist .

# The tutorials, run again and saved with their outputs.
notebooks: $(VENV)/.installed
	$(VENV)/bin/python tools/notebooks.py

# The files of a release, in wheelhouse: wheels for each Python and machine, cross-compiled by Zig's C
# compiler, and the source distribution; see docs/releasing.md.
wheels: $(VENV)-wheels/.installed
	PYTHONPATH=tools $(VENV)-wheels/bin/python -m wheels $(WHEELS)

# The tests of `make bare` with what `make wheels` has built for this machine, under each Python.
wheels-test: $(addprefix wheels-test-,$(WHEEL_PYTHONS))

wheels-test-%:
	$(MAKE) bare BARE=$(VENV)-wheel-$* PYTHON="$$(PYTHONPATH=tools $(PYTHON) -m wheels.pythons $*)" \
	  PACKAGE="$$(echo wheelhouse/*-cp$(subst .,,$*)-*_$$(uname -m).whl)"

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-* $(BARE) build dist wheelhouse background.log

# The package is installed, not linked, so that the tests run what a user gets.
$(VENV)/.installed: $(VENV)/.requirements $(SOURCES)
	$(VENV)/bin/pip install --quiet --no-deps --force-reinstall $(PACKAGE)
	touch $@

$(VENV)/.requirements: $(BUILD)
	$(call new_venv,$(VENV))
	$(VENV)/bin/pip install --quiet --constraint constraints.txt '$(PACKAGE)[dev]'
	touch $@

$(VENV)-build/.installed: constraints.txt
	$(call new_venv,$(VENV)-build)
	$(VENV)-build/bin/pip install --quiet --constraint constraints.txt build
	touch $@

$(VENV)-wheels/.installed: tools/constraints.txt
	$(call new_venv,$(VENV)-wheels)
	$(VENV)-wheels/bin/pip install --quiet --no-compile --constraint $< auditwheel build check-wheel-contents \
	  cython meson-python ninja numpy pyelftools twine ziglang
	touch $@

# The formats with which `make bench` compares the store.
$(VENV)/.bench: $(VENV)/.requirements benchmarks/constraints.txt
	$(VENV)/bin/pip install --quiet --constraint constraints.txt \
	  --constraint benchmarks/constraints.txt '.[bench]'
	touch $@

# Playwright from PyPI drives the system's Chromium; its own download is not needed.
$(VENV)/.browser: $(VENV)/.requirements
	$(VENV)/bin/pip install --quiet --constraint constraints.txt \
	  --constraint tests/browser/constraints.txt playwright
	@command -v chromium > /dev/null || command -v chromium-headless-shell > /dev/null || \
	  $(INSTALL_CHROMIUM) || { apt-get update -qq && $(INSTALL_CHROMIUM); } || \
	  { echo "make browser-tests needs chromium; on Debian: apt install chromium" >&2; exit 1; }
	touch $@

# NumPy without frameworks and ml_dtypes. BARE_NUMPY selects the version of NumPy.
$(BARE)/.installed: $(BUILD) $(SOURCES)
	$(call new_venv,$(BARE))
	$(BARE)/bin/pip install --quiet '$(BARE_NUMPY)' pytest hypothesis
	$(BARE)/bin/pip install --quiet --no-deps --force-reinstall $(PACKAGE)
	touch $@

define new_venv
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || \
	  { echo "$(PYTHON) -m venv failed; on Debian: apt install python3-venv" >&2; exit 1; }
endef

# make demo   train and test the whole recipe on a generated data set
# make test   the tests
# make bench  all benchmarks in a small size (some 25 minutes on two idle, slow cores), JSON to bench_results/
# make bench-evaluation   the evaluation against the plain route (about 10 minutes)
# make bench-step   the training step by part, a plain one beside it (some minutes on two idle cores)
# All create .venv and install requirements.lock (and requirements-nodeps.lock) in it, once.
# Another environment is used with PYTHON=...: make PYTHON=python test

# Tests start many processes: without kept bytecode each compiles its libraries anew, in three times the time.
unexport PYTHONDONTWRITEBYTECODE

BOOTSTRAP ?= python3

ifeq ($(origin PYTHON),undefined)
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/installed-$(shell cat requirements.lock requirements-nodeps.lock | cksum | cut -d' ' -f1)
endif

.PHONY: demo test lint coverage bench bench-evaluation bench-step

demo: $(ENVIRONMENT) demo_data
	$(PYTHON) train_sed.py --conf_file confs/demo.yaml --log_dir exp/demo

demo_data: | $(ENVIRONMENT)
	rm -rf demo_data.partial
	$(PYTHON) -m desed_task.synthesis.generate --out demo_data --seed 1 --size demo

test coverage: export OMP_NUM_THREADS ?= 1
TESTS := $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(ENVIRONMENT)
	$(TESTS)

coverage: $(ENVIRONMENT)
	$(TESTS) --cov --cov-report=term --cov-fail-under=90

bench: $(ENVIRONMENT)
	$(PYTHON) -m benchmarks all

bench-evaluation: $(ENVIRONMENT)
	$(PYTHON) -m benchmarks evaluation

bench-step: $(ENVIRONMENT)
	$(PYTHON) -m benchmarks step --reference

lint: $(ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	if command -v shellcheck >/dev/null; then shellcheck conda_create_environment.sh .ci/run; fi

ifdef ENVIRONMENT
$(ENVIRONMENT): requirements.lock requirements-nodeps.lock
	@$(BOOTSTRAP) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(BOOTSTRAP) is older than Python 3.11: make BOOTSTRAP=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(BOOTSTRAP) -m venv .venv
	.venv/bin/python -m pip install --quiet --no-compile --requirement requirements.lock
	.venv/bin/python -m pip install --quiet --no-compile --no-deps --no-build-isolation \
		--requirement requirements-nodeps.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
endif

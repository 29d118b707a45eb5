# make demo   train and test the whole recipe on a generated data set, then detect the events of a recording
# make test   the tests
# make faults   interrupts trainings at random points, resumes them and compares
# make bench  all benchmarks in a small size, JSON to bench_results/
# All create .venv from requirements.lock and requirements-nodeps.lock, once. Tests, lint and the benchmarks that compare with
# other libraries add requirements-test.lock, which needs a C++ compiler.
# To use another environment: make PYTHON=python test

# Tests start many processes: without stored bytecode each compiles its libraries again, in three times the time.
unexport PYTHONDONTWRITEBYTECODE

BOOTSTRAP ?= python3

ifeq ($(origin PYTHON),undefined)
PYTHON := .venv/bin/python
checksum = $(shell cat $(1) | cksum | cut -d' ' -f1)
ENVIRONMENT := .venv/installed-$(call checksum,requirements.lock requirements-nodeps.lock)
TEST_ENVIRONMENT := $(ENVIRONMENT)-$(call checksum,requirements-test.lock)
endif

.PHONY: demo test faults lint coverage bench

FINISHED_DEMO := $(lastword $(sort $(wildcard exp/demo/version_*/metrics_test/metrics.json)))

ifneq ($(FINISHED_DEMO),)
demo:
	@echo "The demo has been trained and tested: $(dir $(FINISHED_DEMO))report.html"
	@echo "To start again: rm -r exp/demo && make demo"
else
demo: $(ENVIRONMENT) demo_data
	$(PYTHON) train_sed.py --conf_file confs/demo.yaml --log_dir exp/demo
	$(PYTHON) -m desed_task.making.join --audio demo_data/audio/validation/validation_16k \
		--events demo_data/metadata/validation/validation.tsv --seconds 60 --output exp/demo/recording
	$(PYTHON) -m desed_task.detect --model "$$(ls -d exp/demo/version_*/model | tail -n 1)" --plot \
		--format tsv,audacity --output exp/demo/detections exp/demo/recording/recording.wav
	@cat exp/demo/detections/recording.wav.txt
	@echo "Picture: exp/demo/detections/recording.wav.png; the lines above are its Audacity labels, recording.wav.txt"
endif

demo_data: | $(ENVIRONMENT)
	$(PYTHON) -m local.generate --output demo_data --seed 1 --size demo

test coverage: export OMP_NUM_THREADS ?= 1
TESTS := $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(TEST_ENVIRONMENT)
	$(TESTS)

coverage: $(TEST_ENVIRONMENT)
	$(TESTS) --cov --cov-report=term --cov-fail-under=90

bench: $(TEST_ENVIRONMENT)
	$(PYTHON) -m benchmarks all

faults: export OMP_NUM_THREADS ?= 1
faults: $(TEST_ENVIRONMENT)
	$(PYTHON) -m tests.support.faults

lint: $(TEST_ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	if command -v shellcheck >/dev/null; then shellcheck conda_create_environment.sh .ci/run findings/*.sh; fi

ifdef ENVIRONMENT
INSTALL := .venv/bin/python -m pip install --quiet --no-compile

$(ENVIRONMENT): requirements.lock requirements-nodeps.lock
	@$(BOOTSTRAP) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(BOOTSTRAP) is older than Python 3.11: make BOOTSTRAP=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(BOOTSTRAP) -m venv .venv
	$(INSTALL) --requirement requirements.lock
	$(INSTALL) --no-deps --requirement requirements-nodeps.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(TEST_ENVIRONMENT): requirements-test.lock | $(ENVIRONMENT)
	# Without pip's cache, which may have a build for another NumPy.
	$(INSTALL) --no-deps --no-cache-dir "$$(grep '^sed_scores_eval==' requirements-test.lock)"
	$(INSTALL) --no-deps --requirement requirements-test.lock
	touch $@
endif

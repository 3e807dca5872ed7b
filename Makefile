# `make study` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV ?= .venv
# A pip index with another build of torch, for example one for the CPU or another CUDA version.
TORCH_INDEX ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LINKS := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS))

.PHONY: install study test browser check lock miniature clean

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --requirement requirements.lock $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

study: install  ## a real study of the embedded miniature, ending with its rulebook
	$(BIN)/ldmopt run studies/quickstart.toml

test: install browser
	$(BIN)/python -m pytest

browser:  ## the labelling page is tested in Debian's Chromium
	@command -v chromium >/dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; } \
		|| echo "chromium is not installed: tests of the labelling page will fail"

check: install
	$(BIN)/ruff check .
	$(BIN)/mypy

lock:  ## compile requirements.lock anew; torch without its local suffix fits every machine
	$(BIN)/uv pip compile pyproject.toml --extra onnx --extra label --extra dev --no-header --upgrade-package torch $(LINKS) \
		--output-file requirements.lock --quiet
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock

miniature: install  ## train the embedded model from nothing: about an hour and a half on two cores
	$(BIN)/python -m ldmopt.miniature.train --out ldmopt/miniature/model

clean:
	rm -rf $(VENV) runs .cache build

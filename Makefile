# `make demo`, `make demo-video` and `make test` do all the set-up: they make .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
# More options for the training of a demo, such as `make demo FIT="--trainer.max_epochs 1"`.
FIT ?=
# What the picture's demo measures, and how closely: a few labels, to the first digit, in seconds.
PROBE ?= --data.split.limit 2000 --dims 1024
# Compiled files stay, so that the next run need not compile the tests again (10 s of CPU).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-video docs test test-vectorisations test-newest test-floors slow walk clean

demo: .venv/installed
	if [ -e runs/demo/checkpoints/last.ckpt ]; then $(BIN)/pretext fit runs/demo; \
	else $(BIN)/pretext fit -c configs/image/rotation_digits.yaml --trainer.default_root_dir runs/demo $(FIT); fi
	$(BIN)/pretext show runs/demo
	$(BIN)/pretext probe runs/demo $(PROBE)
	$(BIN)/pretext report runs/demo

demo-video: .venv/installed-flow
	if [ -e runs/demo-video/checkpoints/last.ckpt ]; then $(BIN)/pretext fit runs/demo-video; \
	else $(BIN)/pretext fit -c configs/audio_visual/bouncing.yaml --trainer.default_root_dir runs/demo-video $(FIT); fi
	$(BIN)/pretext show runs/demo-video --count 3
	$(BIN)/pretext probe runs/demo-video
	$(BIN)/pretext export runs/demo-video --to safetensors --modality rgb
	$(BIN)/pretext report runs/demo-video

# The site: build/site/html/index.html. Nothing is fetched; a warning is an error.
docs: .venv/installed-docs
	rm -rf build/site docs/pictures
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/site/doctrees docs build/site/html
	@echo "look: build/site/html/index.html"

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	said=$$(mktemp); $(BIN)/mypy > $$said 2>&1 & types=$$!; \
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -o faulthandler_exit_on_timeout=true; tests=$$?; \
	wait $$types; types=$$?; cat $$said; rm $$said; test $$types = 0 -a $$tests = 0

# Other processors, played by this one: no vectors, AVX2, and as many threads as four cores would take (in one process).
test-vectorisations: .venv/installed-test
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile
	OMP_NUM_THREADS=4 $(BIN)/pytest

# Environments of their own, made anew: the newest releases that pip finds, by the newest pip; and the oldest that
# pyproject.toml declares, on the oldest Python that it declares. `TESTS=tests/core` runs some tests alone.
NEWEST ?= build/newest
FLOORS ?= build/floors
OLDEST := $(shell sed -n 's/^requires-python = ">=\(.*\)"/python\1/p' pyproject.toml)
PYTEST := pytest -n auto --maxprocesses 4 --dist loadfile
SHARED := torch torchvision torchaudio$(if $(TORCH_INDEX), --index-url $(TORCH_INDEX))

test-newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install -q -U pip
	$(if $(TORCH_INDEX),$(NEWEST)/bin/python -m pip install -q $(SHARED))
	$(NEWEST)/bin/python -m pip install -q -e .[test]
	$(NEWEST)/bin/python -m pip freeze --exclude-editable
	$(NEWEST)/bin/$(PYTEST) $(TESTS)

test-floors:
	if $(OLDEST) -m venv --clear $(FLOORS) 2>/dev/null; then :; \
	else echo "no $(OLDEST) here; the oldest releases are tried on $$($(PYTHON) -V)"; $(PYTHON) -m venv --clear $(FLOORS); fi
	$(FLOORS)/bin/python tests/oldest.py > $(FLOORS)/oldest.txt
	$(if $(TORCH_INDEX),$(FLOORS)/bin/python -m pip install -q -c $(FLOORS)/oldest.txt $(SHARED))
	$(FLOORS)/bin/python -m pip install -q -c $(FLOORS)/oldest.txt -e .[test]
	$(FLOORS)/bin/python -m pip freeze --exclude-editable
	$(FLOORS)/bin/$(PYTEST) $(TESTS)

# The newcomer's walk: the README from top to bottom in a fresh clone, then with the wheel alone.
walk:
	bash tests/walk.sh

slow: .venv/installed-test .venv/installed-docs
	$(BIN)/pytest -m slow

.venv/bin/python:
	$(PYTHON) -m venv .venv

# `make demo TORCH_INDEX=URL` takes the three that must fit one another from there, such as PyTorch's index of CPU builds.
.venv/torch: | .venv/bin/python
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install -q torch torchvision torchaudio --index-url $(TORCH_INDEX))
	touch $@

.venv/installed: pyproject.toml | .venv/torch
	$(BIN)/python -m pip install -q -e .
	touch $@

.venv/installed-flow: pyproject.toml | .venv/torch
	$(BIN)/python -m pip install -q -e .[flow]
	touch .venv/installed $@

.venv/installed-docs: pyproject.toml | .venv/torch
	$(BIN)/python -m pip install -q -e .[docs]
	touch .venv/installed .venv/installed-flow $@

.venv/installed-test: pyproject.toml | .venv/torch
	$(BIN)/python -m pip install -q -e .[test]
	touch .venv/installed .venv/installed-flow $@

clean:
	rm -rf .venv build/site $(NEWEST) $(FLOORS) docs/pictures

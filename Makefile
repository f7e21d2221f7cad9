# Two commands do all the set-up: `make demo` and `make test`. Both make .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow clean

demo: .venv/installed
	if [ -e runs/demo/checkpoints/last.ckpt ]; then $(BIN)/pretext fit runs/demo; \
	else $(BIN)/pretext fit -c configs/image/digits.yaml --trainer.default_root_dir runs/demo; fi
	$(BIN)/pretext show runs/demo
	$(BIN)/pretext probe runs/demo
	$(BIN)/pretext report runs/demo

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

slow: .venv/installed-test
	$(BIN)/pytest -m slow

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e .
	touch $@

.venv/installed-test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e .[test]
	touch .venv/installed $@

clean:
	rm -rf .venv

# Thin aliases. `make demo` trains a small denoiser on real photographs, `make test` runs the whole test suite.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup demo test campaign lint format

setup:
	@$(PYTHON) scripts/setup_venv.py $(VENV)

demo: setup
	@$(BIN)/python -m memnet_basicsr.demo

test: setup
	@$(BIN)/python -m pytest --durations=15

# some 550 faults (kills, disks, damaged and malicious files, servers): 20 minutes on one core
campaign: setup
	@$(BIN)/python -m tests.campaign

FILES = memnet_basicsr scripts tests setup.py _memnet_basicsr_autoload.py _memnet_basicsr_command.py

lint: setup
	@$(BIN)/ruff check $(FILES)
	@$(BIN)/isort --check-only --quiet $(FILES)
	@$(BIN)/yapf --diff --recursive --parallel $(FILES)
	@$(BIN)/codespell $(FILES) options README.md CHANGELOG.md CONTRIBUTING.md RESULTS.md docs

format: setup
	@$(BIN)/isort --quiet $(FILES)
	@$(BIN)/yapf --in-place --recursive --parallel $(FILES)

# The commands of the README. Each makes .venv and installs what it needs; nothing else has to be installed by hand.
PYTHON ?= python3
VENV := .venv/bin
RUN := runs/digits_gconv
JUDGE := runs/digits_classifier

CHROMIUM ?= chromium

.PHONY: quickstart test lint bench samples

quickstart: .venv/installed
	$(VENV)/gconv-gan classify configs/classify/digits.toml
	$(VENV)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no train_gan.py configs/gan/digits_gconv.toml \
		--evaluation.every 12000 --evaluation.protocol fd1k_classifier --evaluation.extractor checkpoint:$(JUDGE)
	$(VENV)/gconv-gan score $(RUN) --extractor checkpoint:$(JUDGE)
	$(VENV)/python eval/class_agreement.py $(RUN) --classifier $(JUDGE)
	$(VENV)/gconv-gan gallery $(RUN)
	@echo
	@echo "Look at $(RUN)/gallery/index.html in a browser. Next:"
	@echo "  . .venv/bin/activate                                                  # gconv-gan is a command then"
	@echo "  gconv-gan sample $(RUN) --num 100 --out $(RUN)/samples.zip     # images as PNG files"
	@echo "  gconv-gan export $(RUN)                                       # safetensors, ONNX, model card"
	@echo "  gconv-gan train configs/gan/own64.toml --data.path my.zip --name mine --dry-run     # your own pictures"

# the committed page of the digits, the index beside it, and a picture of the page
samples: quickstart
	$(VENV)/gconv-gan gallery $(RUN) --out samples/digits_gconv --index samples
	$(CHROMIUM) --headless --no-sandbox --hide-scrollbars --window-size=1200,1640 --screenshot=samples/digits_gconv.png \
		file://$(CURDIR)/samples/digits_gconv/index.html

test: .venv/installed-test
	OMP_NUM_THREADS=1 $(VENV)/python -m pytest -q -n 2

# each part takes under ten minutes on two cores
bench: .venv/installed
	for part in step layers scores data laws predictions; do OMP_NUM_THREADS=1 $(VENV)/python eval/speed/bench.py --only $$part || exit 1; done
	$(VENV)/python eval/speed/report.py

lint: .venv/installed-dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(VENV)/python -m pip install -q torch torchvision
	$(VENV)/python -m pip install -q -e .
	touch $@

.venv/installed-test: .venv/installed
	$(VENV)/python -m pip install -q -e '.[test]'
	touch $@

.venv/installed-dev: .venv/installed
	$(VENV)/python -m pip install -q -e '.[dev]'
	touch $@

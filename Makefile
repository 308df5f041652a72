# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The face of all commands: `make` lists them. Each works from a clone at any path and brings its own environment.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

ROOT    := $(CURDIR)
BUILD   := .build
RESULTS := $(BUILD)/results

# The Python of the development environment; the first one found that can run the newest ansible-core; and the oldest
# that may run the modules.
PYTHON        ?= $(shell tools/find-python 3.11)
PYTHON_NEWEST ?= $(shell tools/find-python 3.12)
PYTHON_OLDEST ?= $(shell tools/find-python 3.9 3.9)
VENV          := .venv
VENV_NEWEST   := .venv-newest
READY         := $(VENV)/.ready
READY_NEWEST  := $(VENV_NEWEST)/.ready
VENV_DEMO     := $(BUILD)/venv-demo
READY_DEMO    := $(VENV_DEMO)/.ready

# Two ways to the path that Ansible wants. The link is for what imports or runs the collection: always the tree itself.
# A mirror is a copy for the tools that look at all files around them and leave some behind, for each target its own: they
# run side by side.
LINK   := $(BUILD)/collections/ansible_collections/xen/pci
MIRROR  = $(BUILD)/mirrors/$@/ansible_collections/xen/pci
mirror  = $(VENV)/bin/python tools/mirror.py '$(MIRROR)'

export PATH := $(ROOT)/$(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(ROOT)/$(BUILD)/collections

# One Python for a run of ansible-test: by itself it tries every name like python3.9 on PATH, stand-ins included.
minor = $$($(1)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# Hosts that the lab's tests run on side by side: each takes one core and about 4 GiB.
LAB_HOSTS ?= 2

# What the random tests choose by: where it is not given, `fuzz-short` always plays the same episodes and `fuzz` others each
# time; and how long `fuzz` goes on.
SEED    ?=
MINUTES ?= 60

# Further words for pytest, for example: make unit PYTEST_ARGS='-k address -x'
PYTEST_ARGS ?=
# The name of the host that `make lab` boots; another one with LAB=...
LAB         ?= by-hand

TARGETS     := $(filter-out setup_%,$(notdir $(wildcard tests/integration/targets/*)))
CONFORMANCE := $(wildcard tests/conformance/test_*.py)
BENCHMARKS  ?= $(wildcard benchmarks/*.py)

# $(call skip,step,reason): say so, and leave the reason for tools/steps.py, which counts it as neither passed nor failed.
skip = mkdir -p $(RESULTS) && echo '$(2)' > $(RESULTS)/$(1).skipped && echo '$(1): skipped, $(2)'

##@ Environment

.PHONY: help
help: ## List the commands
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv: $(READY) ## Make .venv (Python 3.11 or newer; another one with PYTHON=...)

$(READY): tests/requirements.txt | $(LINK)
	@tools/make-venv '$(PYTHON)' $(VENV) $<

$(READY_NEWEST): tests/requirements-newest.txt
	@tools/make-venv '$(PYTHON_NEWEST)' $(VENV_NEWEST) $<

$(READY_DEMO): tools/demo/requirements.txt | $(LINK)
	@tools/make-venv '$(PYTHON)' $(VENV_DEMO) $<

$(LINK):
	@mkdir -p $(@D) && ln -sfn ../../../.. $@

.PHONY: clean
clean: ## Remove everything that was generated, the environments included
	rm -rf $(BUILD) $(VENV) $(VENV_NEWEST) .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/output xen-pci-*.tar.gz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ A first look

.PHONY: demo
demo: $(READY_DEMO) ## Three simulated Xen hosts and the main job, in a minute; needs Python 3.11 or newer with pip
	@cd tools && exec '$(ROOT)/$(VENV_DEMO)/bin/python' -m demo

.PHONY: demo-picture
demo-picture: $(READY) $(READY_DEMO) ## Make docs/demo.svg again, from a run of the demo
	$(VENV)/bin/python tools/demo_picture.py

##@ Tests that need neither root nor Xen

# As many side by side as there are processors, in this order: first what is quick, last what uses all processors by itself.
.PHONY: test
test: $(READY) ## All of them, with counts
	@$(VENV)/bin/python tools/steps.py $@ \
		ruff reuse types tarball-test docs-lint ansible-lint unit conformance sanity-oldest sanity molecule sanity-newest demo-test \
		integration fuzz-short integration-newest unit-newest faults

.PHONY: check
check: $(READY) ## Two minutes of them, while you work: ruff, licenses, types, and unit tests that start no simulated host
	@$(VENV)/bin/python tools/steps.py $@ ruff reuse types unit-quick

.PHONY: demo-test
demo-test: $(READY) $(READY_DEMO) ## The demo, run to its end and interrupted
	$(VENV)/bin/python -m pytest --junitxml=$(RESULTS)/demo-test.xml tests/demo $(PYTEST_ARGS)

.PHONY: unit
unit: $(READY) ## Unit and property tests
	$(VENV)/bin/python -m pytest -n auto --junitxml=$(RESULTS)/unit.xml tests/unit $(PYTEST_ARGS)

# Without those that start processes, which take most of the time.
.PHONY: unit-quick
unit-quick: $(READY)
	$(VENV)/bin/python -m pytest -n auto --junitxml=$(RESULTS)/unit-quick.xml tests/unit \
		--ignore=tests/unit/plugins/modules --ignore=tests/unit/simulated_host $(PYTEST_ARGS)

# Some scenarios wait, so there may be more of them at a time than processors.
.PHONY: faults
faults: $(READY) ## The fault suite on simulated hosts: a table of scenarios, what happened, verdict
	$(VENV)/bin/python -m pytest -n 4 --junitxml=$(RESULTS)/faults.xml tests/faults $(PYTEST_ARGS)

# How many episodes, not how many minutes, and the same ones each time: what is tried must depend neither on how fast the
# machine is nor on luck.
.PHONY: fuzz-short
fuzz-short: $(READY) ## Episodes drawn by chance once, on simulated hosts, judged by the simulator; others with SEED=...
	FUZZ_SEED='$(SEED)' $(VENV)/bin/python -m pytest -n 2 --junitxml=$(RESULTS)/fuzz-short.xml tests/fuzz $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Fresh ones for an hour, or for MINUTES=...; the same ones again with SEED=...
	$(VENV)/bin/python tests/fuzz/hunt.py $(if $(SEED),--seed '$(SEED)') --minutes $(MINUTES)

.PHONY: conformance
conformance: ## The same tests against different implementations of one interface
ifeq ($(CONFORMANCE),)
	@$(call skip,$@,there is nothing in tests/conformance)
else
conformance: $(READY)
	$(VENV)/bin/python -m pytest --junitxml=$(RESULTS)/conformance.xml tests/conformance $(PYTEST_ARGS)
endif

.PHONY: types
types: $(READY) ## Type checks (mypy)
	$(VENV)/bin/python -m mypy

.PHONY: lint
lint: ruff ansible-lint reuse ## ruff, ansible-lint with yamllint, and that each file states its license

.PHONY: ruff
ruff: $(READY)
	$(VENV)/bin/python -m ruff check
	$(VENV)/bin/python -m ruff format --check

.PHONY: ansible-lint
ansible-lint: $(READY)
	$(mirror)
	cd $(MIRROR) && ansible-lint --offline --strict --profile production

# In a mirror, which holds only what git would take, and which belongs to the one who runs this.
.PHONY: reuse
reuse: $(READY) ## Each file states its copyright and its license (REUSE)
	$(mirror)
	cd $(MIRROR) && reuse lint --lines

.PHONY: format
format: $(READY) ## Correct what ruff can correct, layout included
	$(VENV)/bin/python -m ruff check --fix
	$(VENV)/bin/python -m ruff format

.PHONY: docs-lint
docs-lint: $(READY) ## Documentation of the plugins, what pages quote or have from tables, entries of the changelog
	$(mirror)
	$(VENV)/bin/python tools/quoted_files.py
	$(VENV)/bin/python tools/reference.py
	$(VENV)/bin/python tools/messages.py --check
	cd $(MIRROR) && antsibull-docs lint-collection-docs --plugin-docs .
	cd $(MIRROR) && antsibull-changelog lint

.PHONY: messages
messages: $(READY) ## Write docs/messages.md, the page of all texts, after a change of any text
	$(VENV)/bin/python tools/messages.py

.PHONY: sanity
sanity: $(READY) ## ansible-test sanity
	$(mirror)
	$(VENV)/bin/python tools/seed_ansible_test.py
	version=$(call minor,$(VENV)); cd $(MIRROR) && ansible-test sanity --venv --python "$$version" --color no

.PHONY: sanity-newest
sanity-newest: ## The same with the newest ansible-core, where there is a Python 3.12 or newer
ifeq ($(PYTHON_NEWEST),)
	@$(call skip,$@,no Python 3.12 or newer was found)
else
sanity-newest: $(READY) $(READY_NEWEST)
	$(mirror)
	$(VENV_NEWEST)/bin/python tools/seed_ansible_test.py
	version=$(call minor,$(VENV_NEWEST)); export PATH='$(ROOT)/$(VENV_NEWEST)/bin':$$PATH; \
	cd $(MIRROR) && ansible-test sanity --venv --python "$$version" --color no
endif

.PHONY: unit-newest
unit-newest: ## Unit tests on the newest ansible-core, likewise
ifeq ($(PYTHON_NEWEST),)
	@$(call skip,$@,no Python 3.12 or newer was found)
else
unit-newest: $(READY_NEWEST) | $(LINK)
	$(VENV_NEWEST)/bin/python -m pytest -n auto --junitxml=$(RESULTS)/unit-newest.xml tests/unit/plugins $(PYTEST_ARGS)
endif

# Without the longest one: role `apply` runs that module too.
.PHONY: integration-newest
integration-newest: ## Integration targets on the newest ansible-core, likewise
ifeq ($(PYTHON_NEWEST),)
	@$(call skip,$@,no Python 3.12 or newer was found)
else
integration-newest: $(READY) $(READY_NEWEST)
	$(VENV_NEWEST)/bin/python tools/seed_ansible_test.py
	$(VENV_NEWEST)/bin/python tools/integration.py $@ $(filter-out domain_devices,$(TARGETS))
endif

.PHONY: sanity-oldest
sanity-oldest: ## Compile and import with Python 3.9, the oldest on managed hosts, where there is one
ifeq ($(PYTHON_OLDEST),)
	@$(call skip,$@,no Python 3.9 was found)
else
sanity-oldest: $(READY)
	$(mirror)
	$(VENV)/bin/python tools/seed_ansible_test.py
	export PATH='$(dir $(PYTHON_OLDEST))':$$PATH; \
	cd $(MIRROR) && '$(ROOT)/$(VENV)/bin/ansible-test' sanity --local --python 3.9 --test compile --test import --color no
endif

.PHONY: integration
integration: ## ansible-test integration, all targets, side by side
ifeq ($(TARGETS),)
	@$(call skip,$@,there is nothing in tests/integration/targets)
else
integration: $(READY)
	$(VENV)/bin/python tools/seed_ansible_test.py
	$(VENV)/bin/python tools/integration.py $@ $(TARGETS)
endif

.PHONY: molecule
molecule: $(READY) ## Molecule scenarios, as users write them for their own inventories
	cd $(LINK) && molecule test --all

##@ Tests on real Xen (root; a host under QEMU, no KVM needed)

.PHONY: test-lab
test-lab: $(READY) ## All of them, with counts
	@$(VENV)/bin/python tools/steps.py $@ lab-tests

.PHONY: lab-tests
lab-tests: $(READY)
	$(VENV)/bin/python -m pytest -n $(LAB_HOSTS) --dist loadfile --no-loadscope-reorder --durations=25 \
		--junitxml=$(RESULTS)/lab-tests.xml --ignore=tests/lab/long tests/lab $(PYTEST_ARGS)

.PHONY: test-lab-long
test-lab-long: $(READY) ## HVM guests, a full bus, other ways to boot, ends of guests by xl; not part of test-lab
	$(VENV)/bin/python -m pytest tests/lab/long $(PYTEST_ARGS)

.PHONY: lab
lab: $(READY) ## Boot a host to try things by hand; prints how to log in
	tests/lab/lab boot $(LAB)

.PHONY: lab-stop
lab-stop: $(READY) ## Stop it
	tests/lab/lab stop $(LAB)

.PHONY: bench
bench: $(READY) ## Benchmarks, printed as tables
	@test -n '$(BENCHMARKS)' || { echo 'There are no benchmarks in benchmarks/' >&2; exit 1; }
	@for benchmark in $(BENCHMARKS); do echo "=== $$benchmark"; $(VENV)/bin/python "$$benchmark"; done

##@ Release

.PHONY: changelog
changelog: $(READY) ## CHANGELOG.md from the fragments, for the version in galaxy.yml
	antsibull-changelog release

.PHONY: build
build: $(READY) ## The collection's tarball, into .build/
	$(mirror)
	rm -f $(BUILD)/xen-pci-*.tar.gz
	cd $(MIRROR) && ansible-galaxy collection build --output-path '$(ROOT)/$(BUILD)'

.PHONY: tarball-test
tarball-test: build ## What is in the tarball, and that it works when it is installed from it
	$(VENV)/bin/python -m pytest --junitxml=$(RESULTS)/tarball-test.xml tests/tarball $(PYTEST_ARGS)

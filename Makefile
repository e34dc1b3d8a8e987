# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Development of the collection: make help
#
# Every target first sets up what it needs, once: virtual environments (.venv, .venv-newest) and, as root on Debian
# or Ubuntu, missing programs. Whatever is made here lies under .build and .venv*, and "make clean" removes it.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
VENV_NEWEST := .venv-newest
BIN := $(VENV)/bin
TOOLS := tests/tools
COLLECTIONS := .build/collections
COLLECTION := $(COLLECTIONS)/ansible_collections/nixferry/deploy
PACKAGES := .build/dist
VERSION := $(shell sed -n 's/^version: *//p' galaxy.yml)

# PYTHON=/path/to/python3.N chooses the interpreter of .venv; K=expression selects tests (pytest -k);
# PYTEST_ARGS, MOLECULE_ARGS and BENCH_ARGS are passed on.
PYTHON ?=
K ?=
PYTEST_ARGS ?=
MOLECULE_ARGS ?=
BENCH_ARGS ?=
PYTEST_SELECTION := $(if $(K),-k "$(K)") $(PYTEST_ARGS)
# One test at a time when they are selected by name: that is how one watches them.
PARALLEL := $(if $(K),,--numprocesses auto)
# Tests with real hosts wait more than they compute; each worker has a lab of its own. The tests of some files share
# hosts, so a file stays in one worker.
LAB_WORKERS ?= 4
PARALLEL_LABS := $(if $(K),,--numprocesses $(LAB_WORKERS) --dist loadfile)
# A fault finds its hosts as they are or makes them anew: any worker can take it.
PARALLEL_FAULTS := $(if $(K),,--numprocesses $(LAB_WORKERS) --dist worksteal)

# The checkout serves as the collection that playbooks see; the community package supplies the connection plugins.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(COLLECTIONS)
# Playbooks run by tests and by the demonstration print plain text wherever their output goes.
export PYTHONUNBUFFERED := 1

# Shell scripts by name or by first line.
SHELL_SCRIPTS = $(shell git ls-files --cached --others --exclude-standard '*.sh'; \
	git grep --untracked -lE '^#!(/bin/sh|/usr/bin/env bash)' -- ':!*.sh' ':!*.py' ':!*.nix' ':!*.rst' ':!*.md')

.PHONY: help setup lab-programs venv-unit venv-test venv-docs venv-demo venv-newest lock link demo demo-check demo-fleet test test-full test-unit \
	test-unit-newest test-e2e test-faults test-vm lab lint lint-python lint-types lint-shell lint-yaml \
	lint-ansible lint-docs lint-changelog format sanity sanity-newest molecule bench docs diagrams pages role-readmes build install-check clean

help: ## Show this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done

# --- set-up -----------------------------------------------------------------------------------------------------

setup: ## Install programs and Python packages that the other targets need
	@$(TOOLS)/ensure-programs.sh python git ssh shellcheck nix docker busybox mmdebstrap mke2fs mksquashfs mtools sfdisk qemu-img
	@$(MAKE) --no-print-directory --jobs 2 venv-test venv-newest link

venv-demo:
	@$(TOOLS)/ensure-programs.sh python
	@$(TOOLS)/ensure-venv.sh $(VENV) "$(PYTHON)" requirements/demo.txt

venv-unit:
	@$(TOOLS)/ensure-programs.sh python ssh
	@$(TOOLS)/ensure-venv.sh $(VENV) "$(PYTHON)" requirements/unit.txt

venv-docs:
	@$(TOOLS)/ensure-programs.sh python
	@$(TOOLS)/ensure-venv.sh $(VENV) "$(PYTHON)" requirements/docs.txt

venv-test:
	@$(TOOLS)/ensure-programs.sh python git
	@$(TOOLS)/ensure-venv.sh $(VENV) "$(PYTHON)" requirements/test.txt

# The newest ansible-core wants a newer Python than many distributions have: without one there is nothing to set up.
venv-newest:
	@if python=$$($(TOOLS)/find-python.sh newest); then \
		$(TOOLS)/ensure-venv.sh $(VENV_NEWEST) "$$python" requirements/unit.txt; \
	fi

lock: ## Write requirements/locked anew (UPGRADE=1: with newer versions of what is not pinned)
	@$(TOOLS)/ensure-programs.sh python
	@$(TOOLS)/ensure-venv.sh .build/venv-lock "$(PYTHON)" requirements/lock.txt
	@$(TOOLS)/lock-requirements.sh .build/venv-lock/bin/python $(if $(UPGRADE),--upgrade)

link:
	@mkdir -p $(dir $(COLLECTION))
	@test -e $(COLLECTION)/galaxy.yml || ln -sfn ../../../.. $(COLLECTION)

# --- see it work ------------------------------------------------------------------------------------------------

demo: ## Deploy, break and roll back one host on this machine
	@$(TOOLS)/ensure-programs.sh python git nix busybox
	@$(TOOLS)/check-nix.sh
	@$(MAKE) --no-print-directory venv-demo link
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/run.sh

# In a directory whose path has a space, the demonstrations find what the Makefile, the scripts and the lab do not quote.
demo-check: venv-test
	@$(BIN)/python $(TOOLS)/export_tree.py ".build/demo check"
	@ln -sfn ../../$(VENV) ".build/demo check/$(VENV)"
	@$(MAKE) --no-print-directory -C ".build/demo check" demo
	@$(MAKE) --no-print-directory -C ".build/demo check" demo-fleet

demo-fleet: venv-test link lab-programs ## The same with a fleet of hosts in containers
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/run.sh fleet

# --- tests ------------------------------------------------------------------------------------------------------

MOLECULE_SCENARIOS = $(filter-out default,$(patsubst extensions/molecule/%/molecule.yml,%,$(wildcard extensions/molecule/*/molecule.yml)))

# The part of the matrix that the commit chooses (tests/tools/choose.py). Tests selected by name all run.
export NIXFERRY_TEST_PART ?= $(if $(K),,1)

# Linters and packages use one processor; what starts hosts waits for them half of the time.
STEPS := setup lint,install-check+docs+test-unit-newest,test-unit \
	sanity+sanity-newest+test-vm,molecule+demo-check,test-faults test-e2e

test: ## All kinds of tests; of the matrix of versions and shells, the part that is this commit's turn
	@status=0; \
	$(TOOLS)/run-steps.sh $(STEPS) || status=$$?; \
	tests/lab/scripts/stop-docker .build/lab >/dev/null || status=$$?; \
	exit $$status

test-full: ## The same with the whole matrix, longer random walks, and a process of its own for each playbook
	@NIXFERRY_TEST_PART= NIXFERRY_TEST_REAL_PROCESS=1 NIXFERRY_WALK_STEPS=$${NIXFERRY_WALK_STEPS:-300} \
		$(MAKE) --no-print-directory test

test-unit: venv-unit ## Unit tests: seconds, neither Nix nor network (K=expression selects)
	@$(TOOLS)/run-tests.sh $(BIN)/python tests/unit $(PARALLEL) $(PYTEST_SELECTION)

# Shell code runs the same under any ansible-core, and so do tools: once is enough.
test-unit-newest: venv-newest
	@if [ -x $(VENV_NEWEST)/bin/python ]; then \
		NIXFERRY_TEST_AGAIN=1 $(TOOLS)/run-tests.sh $(VENV_NEWEST)/bin/python tests/unit --ignore tests/unit/target --ignore tests/unit/tools \
			$(PARALLEL) $(PYTEST_SELECTION); \
	else \
		echo "Left out: the newest ansible-core needs Python 3.12 or later next to this one, none was found."; \
	fi

test-e2e: venv-test link lab-programs ## End-to-end tests: real Nix, real hosts in the lab (K=expression selects)
	@$(TOOLS)/ensure-programs.sh podman || echo "Left out: the tests with hosts that podman runs."
	@$(TOOLS)/ensure-programs.sh chromium || echo "Left out: the test of pages in a browser."
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(TOOLS)/run-tests.sh $(BIN)/python tests/e2e -m "not faults" $(PARALLEL_LABS) $(PYTEST_SELECTION)

test-faults: venv-test link lab-programs ## Power cuts, killed guards and broken networks in the lab (K=expression selects)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(TOOLS)/run-tests.sh $(BIN)/python tests/e2e -m faults $(PARALLEL_FAULTS) $(PYTEST_SELECTION)

# The machines are containers of the lab's engine; the image has the firmware and the emulator.
test-vm: venv-test link lab-programs ## Boot loaders on real firmware, in emulated machines (K=expression selects)
	@$(TOOLS)/run-tests.sh $(BIN)/python tests/vm $(PYTEST_SELECTION)

lab-programs:
	@$(TOOLS)/ensure-programs.sh git ssh nix docker busybox mmdebstrap mke2fs mksquashfs mtools sfdisk qemu-img

lab: venv-test link lab-programs ## Start the hosts of the lab, for experiments; "make clean" removes them
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-playbook tests/lab/up.yml

# The hosts are those of the scenario named default. Of two commits, one runs a scenario.
molecule: venv-test link lab-programs ## Scenarios of the roles (MOLECULE_ARGS="-s NAME" for one)
	@scenarios='$(MOLECULE_ARGS)'; \
	if [ -z "$$scenarios" ]; then \
		scenarios=$$($(BIN)/python $(TOOLS)/choose.py --turns 2 molecule $(MOLECULE_SCENARIOS) | sed 's/^/-s /'); \
		echo "Scenarios:" $$scenarios; \
	fi; \
	cd $(COLLECTION) && PATH="$(CURDIR)/$(BIN):$$PATH" molecule test $$scenarios

# --- linters ----------------------------------------------------------------------------------------------------

lint: lint-python lint-types lint-shell lint-yaml lint-changelog lint-docs lint-ansible ## All linters

lint-python: venv-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: venv-test link
	$(BIN)/mypy

lint-shell:
	@$(TOOLS)/ensure-programs.sh shellcheck
	shellcheck $(sort $(SHELL_SCRIPTS))

lint-yaml: venv-test
	$(BIN)/yamllint --strict .

lint-changelog: venv-test
	$(BIN)/antsibull-changelog lint

lint-docs: venv-test link
	cd $(COLLECTION) && PATH="$(CURDIR)/$(BIN):$$PATH" antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .
	@$(BIN)/python $(TOOLS)/role_readmes.py --check
	@$(BIN)/python $(TOOLS)/playbooks_page.py --check
	@$(BIN)/python $(TOOLS)/errors_page.py --check
	@$(BIN)/python $(TOOLS)/diagrams.py --check

pages: venv-docs link ## Write the pages of the documentation that are made from the code
	@$(BIN)/python $(TOOLS)/playbooks_page.py
	@$(BIN)/python $(TOOLS)/errors_page.py

diagrams: venv-docs ## Draw the diagrams of the documentation from docs/docsite/diagrams
	@$(TOOLS)/ensure-programs.sh dot
	@$(BIN)/python $(TOOLS)/diagrams.py

role-readmes: venv-docs ## Write the pages of the roles from their argument specifications
	@$(BIN)/python $(TOOLS)/role_readmes.py

lint-ansible: venv-test link
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict --profile production

format: venv-test ## Sort imports and apply the formatter
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sanity: venv-test ## ansible-test sanity, with Python versions found here
	@$(TOOLS)/ensure-programs.sh git shellcheck
	@$(TOOLS)/run-sanity.sh $(VENV)

sanity-newest: venv-newest
	@$(TOOLS)/ensure-programs.sh git shellcheck
	@if [ -x $(VENV_NEWEST)/bin/python ]; then \
		$(TOOLS)/run-sanity.sh $(VENV_NEWEST) again; \
	else \
		echo "Left out: the newest ansible-core needs Python 3.12 or later next to this one, none was found."; \
	fi

# --- package, documentation, measurements -----------------------------------------------------------------------

build: venv-demo ## The package for ansible-galaxy, in .build/dist
	@mkdir -p $(PACKAGES)
	$(BIN)/ansible-galaxy collection build --force --output-path $(PACKAGES)

install-check: venv-test build ## Install the package into an empty path and use it from there
	@$(BIN)/python $(TOOLS)/check_package.py $(PACKAGES)/nixferry-deploy-$(VERSION).tar.gz

docs: venv-docs link ## The documentation site, in .build/docsite/build/html
	@$(TOOLS)/build-docs.sh $(BIN) .build/docsite

bench: venv-test link lab-programs ## Measure deploys against the floor (BENCH_ARGS="--help" lists what can be chosen)
	@PATH="$(CURDIR)/$(BIN):$$PATH" benchmarks/run.sh $(BENCH_ARGS)

clean: ## Remove everything that make made; hosts of the lab included
	@for lab in .build/lab/*/inventory.yml; do \
		if [ -e "$$lab" ]; then \
			$(BIN)/ansible-playbook tests/lab/down.yml -e lab_name="$$(basename "$$(dirname "$$lab")")"; \
		fi; \
	done
	@if [ -e .build/lab ]; then $(BIN)/ansible-playbook tests/lab/down.yml -e lab_stop_docker=true; fi
	rm -rf .build $(VENV) $(VENV_NEWEST) tests/output
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make` says what there is. Every target does its own set-up: Python 3.11-3.14, git and make are all it needs.
OUT ?= out
PYTHON ?= $(shell for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& { echo $$python; break; }; done)
CHANGED_TESTS = $(shell { git diff --name-only --diff-filter=d HEAD; git ls-files --others --exclude-standard; } 2>/dev/null \
	| grep -E '^tests/(.*/)?test_[^/]*\.py$$')
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock' --extra build $(UPGRADE) pyproject.toml

# Half as many processes again as there are cores: much of a test is waiting.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null) && echo $$(((cores * 3 + 1) / 2)) || echo auto)

CACHE = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tamv-bot

.PHONY: help site setup demo demo-auto test cluster check check-text check-types check-tests format bench crash lock schema actions runbooks manifest screenshots

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/installed ## a .venv with the locked requirements; at once when it is there

.venv/locked: requirements/dev.txt
	@test -n '$(PYTHON)' || { echo 'Python 3.11 to 3.14 with its venv module is needed.' \
		'On Debian: apt-get install python3 python3-venv' >&2; exit 1; }
	@echo 'Installing the locked requirements into .venv: a minute or two, once.'
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the whole product with no account: the scenario, and a web page that looks like Slack
	.venv/bin/tamv-bot demo

demo-auto: setup ## the same played to its end by itself; OUT=dir says where the report goes
	.venv/bin/tamv-bot demo --auto --out '$(OUT)'

test: setup ## every test, in WORKERS processes
	.venv/bin/python -m pytest --instafail --numprocesses '$(WORKERS)' --dist loadfile

cluster: ## a real Kubernetes control plane for the tests, built by Go into the user's cache: minutes, once
	@command -v go >/dev/null || { echo 'Go 1.26 or newer is needed to build a Kubernetes control plane.' >&2; exit 1; }
	@cd tests/cluster && version=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes) && said=k8s.io/component-base/version && \
		CGO_ENABLED=0 go build -trimpath -o '$(CACHE)/control-plane' -ldflags "-s -w -X $$said.gitVersion=$$version \
		-X $$said.gitMajor=1 -X $$said.gitMinor=$$(echo $$version | cut -d. -f2)" .

check: setup ## lint, format, types, layers, and the tests of the house, of the domain and of what you changed
	@$(MAKE) --no-print-directory --jobs 2 check-text check-types check-tests

check-text: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

check-types: setup
	.venv/bin/mypy

check-tests: setup
	.venv/bin/python -m pytest --numprocesses '$(WORKERS)' --dist loadfile tests/architecture tests/domain $(CHANGED_TESTS)

format: setup ## mend what ruff can mend by itself
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: setup ## the figures of the bars, as a table and in bench.json
	.venv/bin/python -m benchmarks $(if $(PAGE),--page '$(PAGE)')

crash: setup ## kill -9 at KILLS (100) points of runs on each database, a fifth as many hung replicas; WALKS (500) random walks
	CRASH_KILLS=$(or $(KILLS),100) .venv/bin/python -m pytest tests/crash/test_runs.py -s \
		--timeout 3600 -o faulthandler_timeout=3600
	WALKS=$(or $(WALKS),500) .venv/bin/python -m pytest tests/crash/test_walks.py \
		--timeout 3600 -o faulthandler_timeout=3600

lock: setup ## requirements/*.txt anew from pyproject.toml; UPGRADE=--upgrade takes the newest
	$(LOCK) --extra dev --output-file requirements/dev.txt
	$(LOCK) --constraint requirements/dev.txt --output-file requirements/run.txt

schema: setup ## teams/*.schema.json anew from bot/team.py and bot/domain/runbook.py
	for name in team runbook; do .venv/bin/python -m bot.schemas $$name > teams/$$name.schema.json; done

actions: setup ## docs/actions.md anew from bot/actions/
	.venv/bin/python -m bot.actions.document > docs/actions.md

runbooks: setup ## docs/runbooks.md anew from runbooks/
	.venv/bin/python -m bot.runbooks.document > docs/runbooks.md

manifest: setup ## the Slack app manifest for a bot that Slack reaches over HTTP: make manifest URL=https://bot.example.org
	@test -n '$(URL)' || { echo 'Say where Slack reaches the bot: make manifest URL=https://bot.example.org' >&2; exit 1; }
	@.venv/bin/tamv-bot manifest --url '$(URL)'

site: setup ## the documentation as a site, into site/; fails at a link that leads nowhere
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

screenshots: setup ## docs/images anew, from the demo in headless Chromium
	.venv/bin/python -m docs.screenshots es
	.venv/bin/python -m docs.screenshots en

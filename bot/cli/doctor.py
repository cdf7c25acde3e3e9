"""`tamv-bot doctor`: check every integration, read-only, and report what is missing and how to fix it."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.actions.catalogue import ACTIONS
from bot.app import build_deps
from bot.cli.cluster_checks import ClusterChecks
from bot.cli.findings import CHECK_SECONDS, Checks, Finding, State
from bot.cli.terminal import team_words
from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.domain.policy import RESPONDER
from bot.domain.timeline import first_broken_link
from bot.integrations.http import Http, HttpResponse
from bot.integrations.prometheus import Prometheus, fill
from bot.integrations.tempo import slower_than
from bot.runbooks import Library
from bot.runbooks.library import read
from bot.settings import Settings
from bot.shipped import MANIFEST
from bot.store.maintenance import count_executors
from bot.store.migrate import newer, pending
from bot.team import PRODUCTION
from bot.yaml_text import load

TOKEN_WARNING = timedelta(days=7)  # how long before its end a token that cannot be renewed any further is a finding
QUERIES_AT_ONCE = 4  # a query's time limit also counts while it waits for a thread

_PLACEHOLDER = re.compile(
    r"X{3,}|\bTODO\b|\bCHANGE_?ME\b|\bREPLACE_?ME\b|example\.(com|org|net)\b|<(your|tu)\b[^>]*>", re.IGNORECASE
)
_SIGNS = {State.GOOD: ("✓", "green"), State.OFF: ("-", "dim"), State.NOTE: ("!", "yellow"), State.WRONG: ("✗", "red")}


class Doctor(Checks):
    """Checks everything that the bot needs and uses."""

    def __init__(
        self, deps: Deps, settings: Settings, manifest: Path = MANIFEST, seconds: float = CHECK_SECONDS
    ) -> None:
        super().__init__(deps.words, seconds)
        self._deps = deps
        self._settings = settings
        self._manifest = manifest
        self._at_once = asyncio.Semaphore(QUERIES_AT_ONCE)

    def files(self) -> list[Finding]:
        """Check the runbooks; the team file was read successfully."""
        team = Finding(str(self._settings.team_file), State.GOOD, self._deps.team.organisation)
        try:
            library = Library.read(self._deps.team.runbooks, ACTIONS, self._deps.team)
        except BotError as problem:
            return [team, Finding(f"{self._deps.team.runbooks}/", State.WRONG, self._deps.words.error(problem))]
        return [team, self._good(f"{self._deps.team.runbooks}/", "runbooks", count=len(library.runbooks))]

    async def findings(self) -> list[Finding]:
        """Return all results in a fixed order; independent checks run concurrently."""
        checks: list[tuple[str, str, AsyncIterator[Finding]]] = [
            ("database", "DATABASE_URL", self._database()),
            ("Slack", "SLACK_BOT_TOKEN", self._slack()),
            ("Prometheus", "PROMETHEUS_URL", self._prometheus()),
            ("Alertmanager", "ALERTMANAGER_WEBHOOK_TOKEN", self._alertmanager()),
            ("Grafana → bot", "GRAFANA_WEBHOOK_TOKEN", self._grafana_webhook()),
            ("PagerDuty", "PAGERDUTY_API_TOKEN", self._pagerduty()),
            ("GitHub", "GITHUB_TOKEN", self._github()),
            ("Vault", "VAULT_ADDR", self._vault()),
            ("AWS", "AWS_REGION", self._aws()),
            ("Tempo", "TEMPO_URL", self._tempo()),
            ("Grafana", "GRAFANA_URL", self._grafana()),
            ("Statuspage", "STATUSPAGE_API_KEY", self._statuspage()),
            ("health endpoints", "BOT_CONFIG", self._health()),
            ("team", "BOT_CONFIG", self._placeholders()),
        ]
        runbooks, _ = read(sorted(self._deps.team.runbooks.glob("*.yaml")))
        cluster = ClusterChecks(self._deps, self._seconds, runbooks.values()).findings()
        *results, of_cluster = await asyncio.gather(*(self._try(*check) for check in checks), cluster)
        return [*(finding for findings in results for finding in findings), *of_cluster]

    async def _database(self) -> AsyncIterator[Finding]:
        url = self._settings.database_url
        waiting = await asyncio.to_thread(pending, url)
        if waiting:
            yield self._note("database", "migrations", revisions=waiting)
            return
        if revision := await asyncio.to_thread(newer, url):
            yield self._note("database", "newer_database", revision=revision)
        store = self._deps.store
        await store.database.ready()
        executors = await count_executors(store.database)
        yield self._good("database", "database", kind=url.partition(":")[0], executors=executors)
        ids = await store.incidents.ids()
        broken = [(id, seq) for id in ids if (seq := first_broken_link(id, await store.incidents.timeline(id)))]
        for id, seq in broken:
            yield self._finding("timelines", State.WRONG, "broken_chain", incident=id, seq=seq)
        if not broken:
            yield self._good("timelines", "chains", count=len(ids))

    async def _slack(self) -> AsyncIterator[Finding]:
        slack, name = self._deps.slack, self._deps.incident_channel
        identity = await slack.identity()
        yield self._good("Slack", "slack", url=identity.url, user=identity.user_id)
        required = set(load(self._manifest.read_text("utf-8"))["oauth_config"]["scopes"]["bot"])
        granted = await slack.scopes()
        if granted is None:
            yield self._note("scopes", "scopes_unknown")
        elif missing := sorted(required - granted):
            yield self._finding("scopes", State.WRONG, "scopes_missing", missing=missing)
        else:
            yield self._good("scopes", "scopes", count=len(required))
        channels = await slack.paginate("conversations.list", "channels", exclude_archived="true")
        channel = next((c for c in channels if name.removeprefix("#") in (c.get("name"), c.get("id"))), None)
        if channel is None:  # it may have been renamed
            channel = next((c for c in channels if name.removeprefix("#") in (c.get("previous_names") or [])), None)
        if channel is None:
            yield self._finding(name, State.WRONG, "channel_missing", channel=name)
        elif not channel.get("is_member"):
            yield self._finding(name, State.WRONG, "channel_not_joined", channel=name, bot=self._deps.team.app.bot)
        else:
            yield self._good(name, "channel")
        groups = await slack.read("usergroups.list")
        usergroup_ids = {str(group["id"]) for group in groups.get("usergroups") or []}
        teams = self._deps.team.teams.items()
        absent = sorted(team for team, its in teams if its.usergroup and its.usergroup not in usergroup_ids)
        if absent:
            yield self._note("teams", "usergroups_missing", teams=absent)
        if token := self._settings.slack_app_token:
            await slack.check_app_token(token.get_secret_value())
            yield self._good("Socket Mode", "socket_mode")

    async def _prometheus(self) -> AsyncIterator[Finding]:
        prometheus = self._deps.prometheus
        if prometheus is None:
            yield self._off("Prometheus", "PROMETHEUS_URL")
            return
        yield self._good("Prometheus", "prometheus", version=await prometheus.check())
        for finding in await asyncio.gather(
            *(self._query(prometheus, name, query.promql) for name, query in self._deps.team.queries.items())
        ):
            if finding:
                yield finding

    async def _query(self, prometheus: Prometheus, name: str, promql: str) -> Finding | None:
        """Return a finding unless a query of the catalogue has data for some service."""
        subject = f"Prometheus · {name}"
        try:
            for service, its in self._deps.team.services.items():
                namespace = its.namespaces.get(PRODUCTION, "")
                async with self._at_once:
                    series = await prometheus.query(fill(promql, service=service, namespace=namespace))
                if series:
                    return None
        except BotError as problem:
            return self._wrong_in_team(subject, problem, f"queries.{name}.promql", "PROMETHEUS_URL")
        return self._note(subject, "no_data", query=name)

    async def _alertmanager(self) -> AsyncIterator[Finding]:
        if self._deps.alertmanager is None:
            yield self._off("Alertmanager (API)", "ALERTMANAGER_URL")
        else:
            try:
                yield self._good("Alertmanager (API)", "answers", said=await self._deps.alertmanager.check())
            except BotError as problem:
                yield self._wrong("Alertmanager (API)", problem, "ALERTMANAGER_URL")
        if self._settings.alertmanager_webhook_token is None:
            yield self._off("Alertmanager", "ALERTMANAGER_WEBHOOK_TOKEN")
        else:
            yield self._good("Alertmanager", "alertmanager")

    async def _grafana_webhook(self) -> AsyncIterator[Finding]:
        if self._settings.grafana_webhook_token is None:
            yield self._off("Grafana → bot", "GRAFANA_WEBHOOK_TOKEN")
        else:
            yield self._good("Grafana → bot", "grafana")

    async def _pagerduty(self) -> AsyncIterator[Finding]:
        pagerduty = self._deps.pagerduty
        if pagerduty is None:
            yield self._off("PagerDuty", "PAGERDUTY_ROUTING_KEY")
            return
        yield self._good("PagerDuty", "pagerduty", account=await pagerduty.check())
        for team, its in self._deps.team.teams.items():
            if its.pagerduty:
                try:
                    await pagerduty.on_call(its.pagerduty)
                except BotError as problem:
                    yield self._wrong(f"PagerDuty · {team}", problem, "PAGERDUTY_API_TOKEN")
        if not self._settings.pagerduty_webhook_secrets:
            yield self._off("PagerDuty → bot", "PAGERDUTY_WEBHOOK_SECRETS")

    async def _github(self) -> AsyncIterator[Finding]:
        github = self._deps.github
        if github is None:
            yield self._off("GitHub", "GITHUB_TOKEN")
            return
        yield self._good("GitHub", "github", account=await github.check())
        if self._settings.github_webhook_secret is None:
            yield self._off("GitHub → bot", "GITHUB_WEBHOOK_SECRET")

    async def _vault(self) -> AsyncIterator[Finding]:
        vault, team = self._deps.vault, self._deps.team
        if vault is None:
            yield self._off("Vault", "VAULT_ADDR")
            return
        token = await vault.check()
        said = f"{self._settings.vault_addr} as {token.name}, policies {', '.join(token.policies)}"
        yield self._good("Vault", "answers", said=said)
        if token.runs_out and token.ends_in is not None and token.ends_in < TOKEN_WARNING:
            yield self._finding("Vault", State.WRONG, "vault_token_ends", left=token.ends_in)
        for name, secret in team.secrets.items():
            for environment, path in secret.paths.items():
                try:
                    await vault.updated_at(secret.mount, path)
                except BotError as problem:
                    path = f"secrets.{name}.paths.{environment}"
                    yield self._wrong_in_team(f"Vault · {name}", problem, path, "VAULT_ADDR")

    async def _aws(self) -> AsyncIterator[Finding]:
        aws, team = self._deps.aws, self._deps.team
        if aws is None:
            yield self._off("AWS", "AWS_REGION")
            return
        yield self._good("AWS", "answers", said=await aws.check())
        for name in team.databases:
            if await aws.database(name) is None:
                yield self._finding(f"AWS · {name}", State.WRONG, "no_database", name=name)
        for name, backups in team.backups.items():
            try:
                stored = await aws.list_objects(backups.bucket, backups.prefix)
            except BotError as problem:
                yield self._wrong_in_team(f"AWS · {name}", problem, f"backups.{name}.bucket", "AWS_REGION")
            else:
                if not stored:
                    yield self._note(f"AWS · {name}", "no_backups", place=f"{backups.bucket}/{backups.prefix}")

    async def _tempo(self) -> AsyncIterator[Finding]:
        if self._deps.tempo is None:
            yield self._off("Tempo", "TEMPO_URL")
            return
        now = self._deps.clock.now()
        await self._deps.tempo.search(slower_than("doctor", 3_600_000), now - timedelta(minutes=5), now, 1)
        yield self._good("Tempo", "answers", said=str(self._settings.tempo_url))

    async def _grafana(self) -> AsyncIterator[Finding]:
        if self._deps.grafana_url is None:
            yield self._off("Grafana", "GRAFANA_URL")
            return
        url = f"{self._deps.grafana_url.rstrip('/')}/api/health"
        response = await Http().probe(url, self._seconds)
        if response.status >= 400:
            raise Unavailable("unreachable", service="Grafana", why=f"HTTP {response.status}")
        yield self._good("Grafana", "answers", said=self._deps.grafana_url)

    async def _statuspage(self) -> AsyncIterator[Finding]:
        statuspage, hosted = self._deps.statuspage, self._deps.team.status_page.hosted
        if statuspage is None:
            yield self._off("Statuspage", "STATUSPAGE_API_KEY")
            return
        if hosted is None:
            yield self._note("Statuspage", "no_hosted_page")
            return
        path = "status_page.hosted"
        try:
            components = await statuspage.components(hosted.page)
        except BotError as problem:
            yield self._wrong_in_team("Statuspage", problem, f"{path}.page", "STATUSPAGE_API_KEY")
            return
        yield self._good("Statuspage", "answers", said=hosted.page)
        for name, id in hosted.components.items():
            if id not in components:
                place = f"{path}.components.{name}"
                yield self._finding(
                    f"Statuspage · {name}", State.WRONG, "no_component", id=id, path=place, known=components
                )

    async def _health(self) -> AsyncIterator[Finding]:
        """Look at the health endpoints of production."""
        checks = {
            name: service.health[PRODUCTION]
            for name, service in self._deps.team.services.items()
            if PRODUCTION in service.health
        }
        urls = [str(check.url) for check in checks.values()]
        outcomes = await asyncio.gather(*(self._deps.http.get(url, 5.0) for url in urls), return_exceptions=True)
        sick = 0
        for (name, check), outcome in zip(checks.items(), outcomes, strict=True):
            why = "" if not isinstance(outcome, BotError) else str(outcome.facts.get("why") or outcome.key)
            if isinstance(outcome, HttpResponse) and outcome.status != check.status:
                why = f"HTTP {outcome.status}"
            if why:
                sick += 1
                yield self._note(f"{name} · health", "unhealthy", url=str(check.url), why=why)
        if checks and not sick:
            yield self._good("health endpoints", "healthy", count=len(checks))

    async def _placeholders(self) -> AsyncIterator[Finding]:
        """Look for what was never filled in, and whether anybody responds."""
        role = self._deps.team.roles.get(RESPONDER)
        if not self._deps.team.people_by_role().get(RESPONDER) and not (role and role.usergroup):
            yield self._note("team", "no_responder")
        found = list(placeholders(self._deps.team.model_dump(mode="json", exclude={"queries"})))
        for path, value in found:
            yield self._note(str(self._settings.team_file.name), "placeholder", path=path, value=value)


def placeholders(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts that nobody has filled in, with their paths: `+1-XXX-XXX-XXXX`, `CHANGEME`, `<your team>`."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from placeholders(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from placeholders(item, f"{path}[{number}]")
    elif isinstance(value, str) and _PLACEHOLDER.search(value):
        yield path, value


def run_checks(settings: Settings, *, as_json: bool = False, seconds: float = CHECK_SECONDS) -> int:
    """Check these settings and print the results; `seconds` limits each check.

    Returns 1 if something required is missing.
    """
    logging.disable(logging.WARNING)
    words = team_words(settings.locale)
    try:
        findings = asyncio.run(_run_checks(settings, seconds))
    except BotError as problem:  # the team file is invalid: nothing can be checked
        findings = [Finding(str(settings.team_file), State.WRONG, words.error(problem))]
    wrong = any(finding.state is State.WRONG for finding in findings)
    if as_json:
        rows = [
            {"subject": finding.subject, "state": finding.state.value, "text": html.unescape(finding.text)}
            for finding in findings
        ]
        sys.stdout.write(json.dumps({"ok": not wrong, "findings": rows}, ensure_ascii=False, indent=2) + "\n")
        return 1 if wrong else 0
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 1))
    for finding in findings:
        sign, style = _SIGNS[finding.state]
        subject = words.render_block("doctor", "names", subject=finding.subject)
        table.add_row(Text(sign, style), Text(subject, "bold"), Text(html.unescape(finding.text)))
    console.print(table)
    console.print(Text(words.render_block("doctor", "mend" if wrong else "fine"), "bold"))
    return 1 if wrong else 0


async def _run_checks(settings: Settings, seconds: float) -> list[Finding]:
    async with build_deps(settings) as deps:
        checks = Doctor(deps, settings, seconds=seconds)
        return [*checks.files(), *await checks.findings()]

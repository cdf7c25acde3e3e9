"""`tamv-bot doctor`: check every integration, read-only, and report what is missing and how to fix it."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.actions.catalogue import ACTIONS
from bot.app import build_deps
from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.domain.timeline import first_broken_link
from bot.integrations.prometheus import Prometheus, fill
from bot.messages.translations import load_translations
from bot.runbooks import Library
from bot.settings import Settings
from bot.shipped import MANIFEST
from bot.store.migrate import pending
from bot.team import PRODUCTION


class State(StrEnum):
    GOOD = "good"
    OFF = "off"  # not configured: its commands say so, everything else works
    NOTE = "note"  # worth knowing, not an error
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `text` says it, with how to fix it."""

    subject: str
    state: State
    text: str


_SIGNS = {State.GOOD: ("✓", "green"), State.OFF: ("-", "dim"), State.NOTE: ("!", "yellow"), State.WRONG: ("✗", "red")}


class Doctor:
    """Checks everything that the bot needs and uses."""

    def __init__(self, deps: Deps, settings: Settings, manifest: Path = MANIFEST) -> None:
        self._deps = deps
        self._settings = settings
        self._manifest = manifest

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
            ("PagerDuty", "PAGERDUTY_API_TOKEN", self._pagerduty()),
            ("GitHub", "GITHUB_TOKEN", self._github()),
        ]
        results = await asyncio.gather(*(self._try(*check) for check in checks))
        return [finding for findings in results for finding in findings]

    async def _try(self, subject: str, setting: str, check: AsyncIterator[Finding]) -> list[Finding]:
        findings: list[Finding] = []
        try:
            async for finding in check:
                findings.append(finding)
        except BotError as problem:
            findings.append(self._wrong(subject, problem, setting))
        return findings

    async def _database(self) -> AsyncIterator[Finding]:
        url = self._settings.database_url
        waiting = await asyncio.to_thread(pending, url)
        if waiting:
            yield self._note("database", "migrations", revisions=waiting)
            return
        store = self._deps.store
        await store.database.ready()
        yield self._good("database", "database", kind=url.partition(":")[0])
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
        required = set(yaml.safe_load(self._manifest.read_text("utf-8"))["oauth_config"]["scopes"]["bot"])
        granted = await slack.scopes()
        if granted is None:
            yield self._note("scopes", "scopes_unknown")
        elif missing := sorted(required - granted):
            yield self._finding("scopes", State.WRONG, "scopes_missing", missing=missing)
        else:
            yield self._good("scopes", "scopes", count=len(required))
        channels = await slack.paginate("conversations.list", "channels", exclude_archived="true")
        channel = next((c for c in channels if c.get("name") == name.removeprefix("#")), None)
        if channel is None:
            yield self._finding(name, State.WRONG, "channel_missing", channel=name)
        elif not channel.get("is_member"):
            yield self._finding(name, State.WRONG, "channel_not_joined", channel=name)
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
                if await prometheus.query(fill(promql, service=service, namespace=namespace)):
                    return None
        except BotError as problem:
            return self._wrong(subject, problem, "BOT_CONFIG")
        return self._note(subject, "no_data", query=name)

    async def _alertmanager(self) -> AsyncIterator[Finding]:
        if self._settings.alertmanager_webhook_token is None:
            yield self._off("Alertmanager", "ALERTMANAGER_WEBHOOK_TOKEN")
        else:
            yield self._good("Alertmanager", "alertmanager")

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
                    yield self._wrong(f"PagerDuty · {team}", problem, "BOT_CONFIG")
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

    def _good(self, subject: str, part: str, **facts: object) -> Finding:
        return self._finding(subject, State.GOOD, part, **facts)

    def _note(self, subject: str, part: str, **facts: object) -> Finding:
        return self._finding(subject, State.NOTE, part, **facts)

    def _off(self, subject: str, setting: str) -> Finding:
        return self._finding(subject, State.OFF, "off", setting=setting)

    def _wrong(self, subject: str, problem: BotError, setting: str) -> Finding:
        facts = problem.facts
        why = facts.get("error") or facts.get("why") or facts.get("status") or problem.key
        if isinstance(problem, Unavailable):
            return self._finding(subject, State.WRONG, "away", why=why, setting=setting)
        if problem.key in ("slack_refused", "refused"):
            return self._finding(subject, State.WRONG, "refused", why=why, setting=setting)
        return Finding(subject, State.WRONG, self._deps.words.error(problem))

    def _finding(self, subject: str, state: State, part: str, **facts: object) -> Finding:
        return Finding(subject, state, self._deps.words.render_block("doctor", part, **facts))


def run_checks(settings: Settings) -> int:
    """Check these settings and print the results. Returns 1 if something required is missing."""
    logging.disable(logging.WARNING)
    words = load_translations()[settings.locale]
    try:
        findings = asyncio.run(_run_checks(settings))
    except BotError as problem:  # the team file is invalid: nothing can be checked
        findings = [Finding(str(settings.team_file), State.WRONG, words.error(problem))]
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 1))
    for finding in findings:
        sign, style = _SIGNS[finding.state]
        subject = words.render_block("doctor", "names", subject=finding.subject)
        table.add_row(Text(sign, style), Text(subject, "bold"), Text(html.unescape(finding.text)))
    console.print(table)
    wrong = any(finding.state is State.WRONG for finding in findings)
    console.print(Text(words.render_block("doctor", "mend" if wrong else "fine"), "bold"))
    return 1 if wrong else 0


async def _run_checks(settings: Settings) -> list[Finding]:
    async with build_deps(settings) as deps:
        checks = Doctor(deps, settings)
        return [*checks.files(), *await checks.findings()]

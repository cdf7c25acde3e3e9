"""The team file (`team.yaml` of a team's folder), typed. What is specific to a team is there, not in the code."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, time, timedelta, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from bot.domain.calendar import Maintenance
from bot.domain.errors import BadInput
from bot.domain.incident import Severity
from bot.domain.nearest import nearest
from bot.domain.policy import INCIDENT_ROLES, Policy, Risk, Rule, Window
from bot.domain.times import Duration, PositiveDuration, parse_zone
from bot.domain.translated import Translated
from bot.expected import in_words
from bot.shipped import languages
from bot.yaml_text import NotYaml, line_and_column, parse

PRODUCTION = "production"  # the default environment, and the only one whose metrics and deployments are judged

MISTAKE = ": "  # between the path and the text of a mistake


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dashboard(_Part):
    title: str
    url: str


class HealthCheck(_Part):
    """The health endpoint of a service, and what a healthy response looks like."""

    url: AnyHttpUrl
    status: int = Field(200, ge=100, le=599)
    within: Duration = Field(timedelta(seconds=2), description="longest response time")
    body: str | None = Field(None, description="regular expression that the response body must match")

    @field_validator("body")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as mistake:
            raise ValueError(f"is not a valid regular expression: {mistake}") from None
        return value


Program = Annotated[list[str], Field(min_length=1)]


class PodRequest(_Part):
    """What may be asked of a pod (`GET`), through the cluster's API server."""

    port: int = Field(ge=1, le=65535)
    path: str = Field("/", pattern=r"^/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/?)*$")
    scheme: Literal["http", "https"] = "http"


class Service(_Part):
    """A deployed service: where it runs and who owns it."""

    title: str | None = None
    deployment: str | None = None
    workload: str | None = Field(None, description="its workload where it is no Deployment: statefulset/ledger")
    workloads: list[str] = Field(default_factory=list, description="all of them, if there are several: web, worker")
    namespaces: dict[str, str] = Field(default_factory=dict, description="environment → namespace")
    chart: str | None = None
    release: str | None = Field(None, description="name of its Helm release where it is not the service's")
    replicas_value: str = Field("replicaCount", description="the chart value that sets the replicas")
    owners: list[str] = Field(default_factory=list, description="teams")
    dashboards: list[Dashboard] = Field(default_factory=list)
    board: str | None = Field(None, description="board of its snapshots")
    health: dict[str, HealthCheck] = Field(default_factory=dict, description="environment → health endpoint")
    depends_on: list[str] = Field(default_factory=list, description="services that it calls, for `/why`")
    programs: dict[str, Program] = Field(default_factory=dict, description="programs that only read: name → command")
    requests: dict[str, PodRequest] = Field(default_factory=dict, description="to its pods: name → port and path")

    @property
    def runs_as(self) -> list[str]:
        """Its workloads as references (`xr-engine`, `statefulset/ledger`); empty if the file names none."""
        return self.workloads or [name for name in (self.workload or self.deployment,) if name]


class VaultSecret(_Part):
    """One entry of a secret in Vault that is rotated regularly."""

    paths: dict[str, str] = Field(description="environment → path below the mount")
    key: str = Field(description="the entry to rotate; the secret's other entries are left unchanged")
    form: Literal["base64", "hex"] = Field(description="encoding of its 32 random bytes")
    mount: str = "secret"
    rotate_every: Duration = Field(timedelta(days=90), description="rotation interval; the calendar tells what is due")
    runbook: str | None = Field(None, description="runbook that rotates it; the calendar has a button for it")


class Backups(_Part):
    """Where backups are stored, and which of them are never deleted."""

    bucket: str
    prefix: str = Field(min_length=1)
    environment: str = Field(PRODUCTION, description="the only environment whose backups are stored here")
    keep: int = Field(7, ge=1, description="number of newest backups that are never deleted, whatever their age")
    fresh: Duration = Field(timedelta(hours=26), description="if the newest backup is older, the last backup failed")
    retention: Duration | None = Field(None, description="none is kept for longer, but for two days more")
    runbook: str | None = Field(None, description="runbook that makes one; the calendar has a button for it")


class RestoreProof(_Part):
    """How often a restore of a database is proven, by a runbook with `aws.rds_proof` whose input is `database`."""

    every: Duration = timedelta(days=30)
    runbook: str = "prove-backup"


DailyWindowText = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]
_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
WeeklyWindowText = Annotated[str, Field(pattern=rf"^{_DAY}:([01]\d|2[0-3]):[0-5]\d-{_DAY}:([01]\d|2[0-3]):[0-5]\d$")]


class Database(_Part):
    """An RDS instance, and what is asked of its backups; what is left out is not compared with what RDS says."""

    environment: str
    retention: Duration | None = Field(None, description="for how long RDS keeps its automated backups: whole days")
    window: DailyWindowText | None = Field(None, description="backup window in UTC, as RDS writes it: 03:00-04:00")
    maintenance: WeeklyWindowText | None = Field(
        None, description="maintenance window in UTC, as RDS writes it: sun:04:00-sun:05:00"
    )
    multi_az: bool = Field(False, description="it must have a standby in another zone")
    point_in_time: bool = Field(False, description="it can be restored to a moment no older than the target `rpo`")
    proof: RestoreProof | None = None
    runbook: str | None = Field(None, description="runbook that makes a backup; the calendar has a button for it")


def _database(value: object) -> object:
    """Return the short form, the environment alone, as the long one."""
    return {"environment": value} if isinstance(value, str) else value


DatabaseEntry = Annotated[Database, BeforeValidator(_database, json_schema_input_type=str | Database)]


class Contact(_Part):
    name: str
    email: str | None = None
    phone: str | None = None


class Team(_Part):
    """A group of people who respond together."""

    usergroup: str | None = Field(None, description="Slack user group id")
    members: list[str] = Field(default_factory=list, description="Slack user ids")
    github: list[str] = Field(default_factory=list, description="GitHub logins; issues are assigned to the first one")
    github_team: str | None = Field(None, description="mentioned in issues, as organisation/team")
    pagerduty: str | None = Field(None, description="PagerDuty service by name or id")
    contact: Contact | None = None


class UsualFollowUp(_Part):
    """A follow-up that every incident of a severity needs."""

    title: Translated
    owner: str | None = None
    due_in: Duration | None = None


class SeverityPolicy(_Part):
    """What happens for incidents of a severity: whom to page and invite, how often to update, which follow-ups."""

    title: Translated
    page: list[str] = Field(default_factory=list, description="teams that are paged when an incident is declared")
    invite: list[str] = Field(
        default_factory=list,
        description="teams that are invited to the incident's channel; of teams with nobody in them, who has the role "
        "responder",
    )
    update_every: Duration | None = Field(None, description="how often an update is due")
    tell_stakeholders_within: Duration | None = Field(
        None,
        description="how soon stakeholders are to know: somebody is asked to publish a draft; default: never",
    )
    followups: list[UsualFollowUp] = Field(default_factory=list, description="opened automatically on resolve")


Signal = Literal["latency", "errors", "traffic", "accelerator", "connections"]


class Query(_Part):
    """One metric of the catalogue. `$service` and `$namespace` in `promql` are replaced, quoted for PromQL."""

    title: Translated
    promql: str
    unit: Literal["ms", "s", "%", "fps", "req/s", "count", "bytes", "cores", ""] = ""
    threshold: float | None = None
    direction: Literal["above", "below"] = Field("above", description="the side of the threshold that is a breach")
    signal: Signal | None = Field(
        None,
        description="what it measures of a service, for `/why`: latency, errors, traffic, accelerator (of GPUs), …",
    )
    by_pod: str | None = Field(
        None, description="the same PromQL for each pod, with the label `pod`; for `/why` and the watch of a canary"
    )
    runbook: str | None = Field(None, description="runbook that helps before it hurts; a button when it is foreseen")


class Board(_Part):
    title: Translated
    queries: list[str]
    runbook: str | None = Field(None, description="the same for all of its queries that name none")


class Owner(_Part):
    """A person, and their names in the systems that the bot uses."""

    name: str
    slack: str
    github: str | None = None
    pagerduty: str | None = None
    email: str | None = None
    login: str | None = Field(None, description="operating-system user with which they call `tamv-bot`")
    roles: list[str] = Field(default_factory=list, description="responder, incident_commander, …")


class Role(_Part):
    """Who has a role, besides the people that name it."""

    usergroup: str | None = Field(None, description="Slack user group id; its members have the role")
    people: list[str] = Field(default_factory=list, description="Slack user ids")


class PolicyRule(_Part):
    """Overrides an action's risk or its number of approvals."""

    action: str = "*"
    environment: str = "*"
    risk: Risk | None = None
    approvals: int | None = Field(None, ge=0, le=5)


class FreezeWindow(_Part):
    """A period in which every change needs an approval."""

    title: str
    begins: AwareDatetime
    ends: AwareDatetime


class Limits(_Part):
    """Limits that no run may exceed."""

    replicas: int = Field(20, ge=0, description="largest number of replicas of a deployment")
    protected: list[str] = Field(default_factory=list, description="names of objects that no action may change")


class Pipeline(_Part):
    """What a version should have behind it before production: off (nobody asks), warn (it is said) or require."""

    environment: str = Field("staging", description="where it is tried first")
    staging: Literal["off", "warn", "require"] = Field("warn", description="it has been there, healthy, smoke-tested")
    checks: Literal["off", "warn", "require"] = Field(
        "warn", description="the checks of its commit at GitHub are green"
    )
    needed_checks: list[str] = Field(default_factory=list, description="by name; without any, all checks count")


class Chaos(_Part):
    """Where and how long litmus.run may break something on purpose, and where its probes ask for the team's figures."""

    namespaces: list[str] = Field(min_length=1, description="where experiments may run")
    longest: PositiveDuration = Field(
        timedelta(minutes=5), le=timedelta(minutes=10), description="of one experiment, its ramps included"
    )
    prometheus: str = Field(
        pattern=r"^https?://\S+$", description="Prometheus as the cluster's pods reach it; Litmus sends it no token"
    )


class PolicyFile(_Part):
    """Who must approve what, and what is never allowed."""

    rules: list[PolicyRule] = Field(default_factory=list)
    freeze_windows: list[FreezeWindow] = Field(default_factory=list)
    break_glass: list[Severity] = Field(default_factory=lambda: [Severity.SEV1])
    break_glass_after: Duration = Field(
        timedelta(minutes=5),
        description="how long approvers have time to answer before the glass may be broken; at once if neither the "
        "requester nor who breaks it has set the severity",
    )
    cool_down: Duration = timedelta(seconds=30)
    approval_expires: Duration = timedelta(minutes=15)
    limits: Limits = Limits()
    incidents: dict[Literal["resolve", "close", "reopen", "severity", "dismiss", "mitigate", "announce"], str] = Field(
        default_factory=dict,
        description="role that may do this to an incident, or `anyone`; default: responder for all but `mitigate`. "
        "Anyone may declare, note and acknowledge",
    )
    act_for_others: list[str] = Field(
        default_factory=list,
        description="operating-system users (name or number) who may name another person with `--as` in a terminal, "
        "such as the one that everybody shares in the bot's container",
    )
    targets: dict[str, str] = Field(
        default_factory=dict,
        description="target that belongs to no service (like `workflow/cd_*.yml`) → environment whose rules hold for "
        "it; without an entry the strictest rules hold",
    )


def _usual_severities() -> dict[str, Severity]:
    return {"critical": Severity.SEV2, "warning": Severity.SEV3, "info": Severity.SEV4}


Labels = Annotated[
    dict[str, str], Field(min_length=1, description="label → value; `*` stands for any text; all of them must fit")
]


class ServiceRule(_Part):
    """Alerts with these labels are of this service."""

    labels: Labels
    service: str


class Heartbeat(_Part):
    """An alert that always fires (a dead man's switch): when it stops, nobody would hear of any other alert."""

    labels: Labels
    within: Duration = Field(timedelta(minutes=15), description="it stopped if it is not heard again within this time")
    severity: Severity = Severity.SEV2


class Storm(_Part):
    """More new groups of alerts than this are a storm: one incident takes them in."""

    incidents: int = Field(9, ge=1, description="new groups that open an incident each")
    within: Duration = timedelta(minutes=1)


class Alerts(_Part):
    severity: dict[str, Severity] = Field(
        default_factory=_usual_severities,
        description="alert's severity label → incident severity; case does not count",
    )
    default: Severity = Severity.SEV3
    service_label: str = "service"
    services: list[ServiceRule] = Field(
        default_factory=list,
        description="services of alerts, before the service label, workload, pod, container and namespace; first wins",
    )
    titles: dict[str, Translated] = Field(
        default_factory=dict,
        description="alert's name → title of its incident; without one it is the alert's own sentence. `{service}` is "
        "the service's public name, or its name",
    )
    ignore: list[Labels] = Field(default_factory=list, description="alerts that open no incident")
    heartbeats: list[Heartbeat] = Field(default_factory=list, description="alerts that must not stop firing")
    storm: Storm = Storm()


class Targets(_Part):
    """Targets of the statistics and of drills; what has none is measured without a verdict."""

    mtta: Duration | None = None
    mttr: Duration | None = None
    mtbf: Duration | None = None
    deploy_success: float | None = None
    rollback_rate: float | None = None
    rto: Duration | None = None
    rpo: Duration | None = None
    response: Duration | None = None
    stakeholders_told: Duration | None = None


class DrillPolicy(_Part):
    """How drills are declared, and whether they page anybody."""

    severity: Severity = Severity.SEV3
    page: bool = Field(False, description="if true, a drill pages the teams of its severity")


class PlannedDrill(_Part):
    """A drill that is held every year."""

    title: Translated
    months: list[Annotated[int, Field(ge=1, le=12)]] = Field(min_length=1)
    scenarios: list[str] = Field(
        default_factory=list, description="scenarios of `/drill start`; any one of them counts"
    )


class PlannedTask(_Part):
    """Something that is due again and again."""

    title: Translated
    first: date = Field(description="the day on which it is due for the first time")
    every: Duration = Field(ge=timedelta(days=1))
    runbook: str | None = Field(None, description="runbook that does it; its button is below the message")


class MaintenanceWindow(_Part):
    """A window of maintenance; it is told in the incident channel before it begins."""

    title: Translated
    begins: AwareDatetime = Field(description="when the first one begins, with its offset from UTC")
    lasts: Duration
    every: Duration | None = Field(None, description="how often it comes back, at the same time of day; default: once")
    notice: Duration = Field(timedelta(hours=24), description="it is told at least this long before")
    runbook: str | None = None


class Schedules(_Part):
    """The team's calendar: each thing that is due is told once in the incident channel.

    What becomes due at night is told at `at`. Rotations of secrets and stale backups are told too.
    """

    at: time = Field(time(9), description="time of day, in the team's time zone, at which a day's things are told")
    digest: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] | None = Field(
        None, description="day of the weekly digest; default: none"
    )
    drills: list[PlannedDrill] = Field(default_factory=list)
    tasks: dict[str, PlannedTask] = Field(default_factory=dict)
    maintenance: dict[str, MaintenanceWindow] = Field(default_factory=dict)


class App(_Part):
    """The Slack app, as `tamv-bot manifest` writes it."""

    name: str | None = Field(None, max_length=35, description="default: the organisation, and Incidents")
    bot: str = Field("incident-bot", max_length=80, description="the bot user's display name")
    color: str = Field("#7A1F1F", pattern="^#[0-9A-Fa-f]{6}$", description="background of the app's icon")


CommandName = Annotated[str, Field(pattern="^[a-z0-9_-]{1,31}$")]


class Commands(_Part):
    """The names of the slash commands, without the slash."""

    prefix: Annotated[str, Field(pattern="^[a-z0-9_-]{0,20}$")] = Field("", description="put before each name")
    incident: CommandName | None = None
    runbook: CommandName | None = None
    ops: CommandName | None = None
    snapshot: CommandName | None = None
    page: CommandName | None = None
    oncall: CommandName | None = None
    drill: CommandName | None = None
    why: CommandName | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = list(self.names().values())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two commands are called {', '.join(twice)}")
        return self

    def names(self) -> dict[str, str]:
        """Return the product's name of each command → the team's."""
        own = self.model_dump(exclude={"prefix"})
        return {command: name or f"{self.prefix}{command}" for command, name in own.items()}


class HostedStatusPage(_Part):
    """The same at Atlassian Statuspage, which STATUSPAGE_API_KEY may change."""

    page: str = Field(min_length=1, description="the id of the page there")
    components: dict[str, str] = Field(
        default_factory=dict, description="service → the id of its component there; others are not marked"
    )
    notify: bool = Field(False, description="the page's subscribers get each change as a message")


class StatusPage(_Part):
    """The public page `GET /status`. It names nothing but these components, and no incident's title."""

    title: Translated = Field(default_factory=dict, description="default: the organisation")
    components: dict[str, Translated] = Field(
        default_factory=dict, description="service → its public name; other services are not named"
    )
    severities: list[Severity] = Field(
        default_factory=lambda: [Severity.SEV1, Severity.SEV2], description="incidents that the public is told of"
    )
    days: int = Field(14, ge=1, le=90, description="for so long it shows what is over")
    hosted: HostedStatusPage | None = None


class CausesPolicy(_Part):
    """How the bot looks for the causes of an incident."""

    automatic: bool = Field(True, description="look by itself when an incident of a service is declared")


class Forecasts(_Part):
    """What the bot looks ahead at."""

    services: list[str] = Field(
        default_factory=list,
        description="services of which it is told that a metric of their board will soon cross its threshold; "
        "default: none",
    )


class TeamFile(_Part):
    """The whole team file."""

    organisation: str
    languages: list[str] = Field(
        default_factory=list, description="languages in which people are answered, the channels' first; default: all"
    )
    incident_channel: str | None = Field(None, description="channel of the headlines, unless INCIDENT_CHANNEL says so")
    app: App = App()
    commands: Commands = Commands()
    emergency_contact: str | None = None
    timezone: str = Field(
        "UTC",
        description="IANA time zone of the times that people type, where Slack does not know their own",
    )
    manifests: str = Field("manifests", description="folder of the manifests that runbooks may apply or run")
    stakeholders_channel: str | None = Field(
        None, description="channel of announcements; default: the incident channel"
    )
    services: dict[str, Service] = Field(default_factory=dict)
    default_service: str | None = None
    argocd_namespace: str = Field("argocd", description="namespace of Argo CD's Applications, where it is used")
    tempo_datasource: str = Field("tempo", description="uid of the Tempo data source in Grafana")
    teams: dict[str, Team] = Field(min_length=1)
    people: list[Owner] = Field(default_factory=list)
    roles: dict[str, Role] = Field(default_factory=dict, description="responder, incident_commander, … → who has it")
    secrets: dict[str, VaultSecret] = Field(default_factory=dict, description="secrets that vault.rotate may rotate")
    databases: dict[str, DatabaseEntry] = Field(
        default_factory=dict, description="RDS instance → its environment, or that and what is asked of its backups"
    )
    backups: dict[str, Backups] = Field(default_factory=dict)
    codeowners: str = ""
    severities: dict[Severity, SeverityPolicy] = Field(
        min_length=1, description="an incident of a severity that is missing here is handled as the nearest one"
    )
    alerts: Alerts = Alerts()
    queries: dict[str, Query] = Field(default_factory=dict)
    boards: dict[str, Board] = Field(default_factory=dict)
    targets: Targets = Targets()
    followups: FollowUpPolicy
    policy: PolicyFile = PolicyFile()
    pipeline: Pipeline = Pipeline()
    chaos: Chaos | None = Field(None, description="what litmus.run may do; without it, nothing")
    drills: DrillPolicy = DrillPolicy()
    schedules: Schedules = Schedules()
    status_page: StatusPage = StatusPage()
    causes: CausesPolicy = CausesPolicy()
    forecasts: Forecasts = Forecasts()
    _folder: Path = PrivateAttr(default=Path())
    _members: Mapping[str, frozenset[str]] = PrivateAttr(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The team's folder, to which paths in the file are relative."""
        return self._folder

    @property
    def runbooks(self) -> Path:
        return self._folder / "runbooks"

    @property
    def role_groups(self) -> set[str]:
        """The user groups that give a role."""
        return {role.usergroup for role in self.roles.values() if role.usergroup}

    def with_members(self, members: Mapping[str, frozenset[str]]) -> Self:
        """Return the same team, knowing the members of its `role_groups`: user group id → user ids."""
        copy = self.model_copy()
        copy._members = {**self._members, **members}
        return copy

    def people_by_role(self) -> dict[str, frozenset[str]]:
        """Return role → Slack user ids."""
        people: dict[str, set[str]] = {name: set(role.people) for name, role in self.roles.items()}
        for name, role in self.roles.items():
            people[name] |= self._members.get(role.usergroup or "", frozenset())
        for person in self.people:
            for name in person.roles:
                people.setdefault(name, set()).add(person.slack)
        return {name: frozenset(ids) for name, ids in people.items()}

    def path(self, relative: str) -> Path:
        """Return the path of a file or folder of the team."""
        return self._folder / relative

    @model_validator(mode="before")
    @classmethod
    def _first_team_owns_followups(cls, raw: Any) -> Any:
        """Let the first team own follow-ups without another owner, unless the file names one."""
        if not isinstance(raw, dict):
            return raw
        teams, followups = raw.get("teams"), raw.get("followups") or {}
        if not isinstance(followups, dict):
            return raw
        first = next(iter(teams), "") if isinstance(teams, dict) else ""
        return raw | {"followups": {"owner": first} | followups}

    @property
    def zone(self) -> tzinfo:
        return parse_zone(self.timezone) or UTC

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if mistakes := [MISTAKE.join((".".join(map(str, path)), what)) for path, what in self._unknown_names()]:
            raise ValueError("\n".join(mistakes))
        return self

    @property
    def environments(self) -> frozenset[str]:
        """Return the names of all environments of this file."""
        services, secrets, backups = self.services.values(), self.secrets.values(), self.backups.values()
        names = [name for service in services for name in (*service.namespaces, *service.health)]
        names += [name for secret in secrets for name in secret.paths]
        names += [database.environment for database in self.databases.values()]
        names += [stored.environment for stored in backups]
        return frozenset(names)

    def database_of(self, environment: str) -> str | None:
        """Return the first database of an environment."""
        return next((name for name, database in self.databases.items() if database.environment == environment), None)

    def _unknown_names(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the path of every name that stands for nothing, and what it should be."""
        named: list[tuple[str, tuple[str | int, ...], str | None, Collection[str]]] = [
            ("service", ("default_service",), self.default_service, self.services),
            ("team", ("followups", "owner"), self.followups.owner, self.teams),
        ]
        for name, service in self.services.items():
            path = ("services", name)
            named += [("team", (*path, "owners", at), owner, self.teams) for at, owner in enumerate(service.owners)]
            named += [
                ("service", (*path, "depends_on", at), other, self.services)
                for at, other in enumerate(service.depends_on)
            ]
            named.append(("board", (*path, "board"), service.board, self.boards))
        for level, policy in self.severities.items():
            for field, teams in (("page", policy.page), ("invite", policy.invite)):
                named += [
                    ("team", ("severities", level.value, field, at), team, self.teams) for at, team in enumerate(teams)
                ]
            for at, usual in enumerate(policy.followups):
                named.append(("team", ("severities", level.value, "followups", at, "owner"), usual.owner, self.teams))
        for name, board in self.boards.items():
            named += [
                ("query", ("boards", name, "queries", at), query, self.queries)
                for at, query in enumerate(board.queries)
            ]
        for at, rule in enumerate(self.alerts.services):
            named.append(("service", ("alerts", "services", at, "service"), rule.service, self.services))
        named += [
            ("service", ("forecasts", "services", at), name, self.services)
            for at, name in enumerate(self.forecasts.services)
        ]
        for component in self.status_page.components:
            named.append(("service", ("status_page", "components", component), component, self.services))
        if hosted := self.status_page.hosted:
            named += [
                ("public name", ("status_page", "hosted", "components", name), name, self.status_page.components)
                for name in hosted.components
            ]
        for at, language in enumerate(self.languages):
            named.append(("language", ("languages", at), language, languages()))
        if parse_zone(self.timezone) is None:
            yield ("timezone",), f"no time zone {self.timezone}"
        for level, policy in self.severities.items():
            if policy.tell_stakeholders_within and self.stakeholders_channel is None:
                yield ("severities", level.value, "tell_stakeholders_within"), "there is no `stakeholders_channel`"
        for kind, where, word, allowed in named:
            if word and word not in allowed:
                near = nearest(word, allowed)
                yield where, f"no {kind} `{word}`" + (f"; did you mean `{near}`?" if near else "")

    def runbook_for(self, query: str, service: str) -> str | None:
        """Return the runbook that helps with a metric of a service before it hurts: the query's, or its board's."""
        board = self.boards.get(self.services[service].board or "")
        return self.queries[query].runbook or (board.runbook if board else None)

    def public_name(self, service: str | None) -> Mapping[str, str]:
        """Return what users call a service, by language; empty if the status page does not name it."""
        return self.status_page.components.get(service or "", {})

    def nearest_severity(self, level: Severity) -> Severity:
        """Return the severity if the team has it; else the nearest one, rather the more severe."""
        order = list(Severity)
        return min(self.severities, key=lambda has: (abs(order.index(has) - order.index(level)), order.index(has)))

    def severity_policy(self, level: Severity) -> SeverityPolicy:
        return self.severities[self.nearest_severity(level)]

    def person(self, **by: str) -> Owner | None:
        """Return the person with this name in one system: `slack=`, `github=`, `pagerduty=`, `email=` or `login=`."""
        ((system, name),) = by.items()
        return next((owner for owner in self.people if getattr(owner, system) == name), None)


def fits(labels: Mapping[str, str], pattern: Mapping[str, str]) -> bool:
    """Return True if all labels of the pattern have their values; `*` stands for any text."""
    return all(fnmatchcase(labels.get(name, ""), _only_stars(value)) for name, value in pattern.items())


def _only_stars(pattern: str) -> str:
    return re.sub(r"[\[?]", lambda match: f"[{match[0]}]", pattern)


class FollowUpPolicy(_Part):
    """Defaults of follow-ups and of their GitHub issues."""

    labels: list[str] = Field(default_factory=lambda: ["incident-followup"])
    due_in: Duration = timedelta(days=14)
    remind_every: Duration = timedelta(days=7)
    owner: str = Field(description="team that owns follow-ups without another owner")


TeamFile.model_rebuild()


def load_team(path: Path) -> TeamFile:
    """Read and validate a team file; its folder is the team's. Raises BadInput with one line per mistake."""
    try:
        document = parse(path.read_text(encoding="utf-8"))
        team = TeamFile.model_validate(document.values)
    except NotYaml as problem:
        raise _wrong(path, problem.mistakes) from None
    except ValidationError as mistakes:
        errors = mistakes.errors(include_input=False, include_url=False)
        raise _wrong(path, [place for mistake in errors for place in _places(document.root, mistake)]) from None
    except OSError as problem:
        raise BadInput("team_file_unreadable", path=str(path), why=problem.strerror) from problem
    except ValueError:
        raise BadInput("team_file_unreadable", path=str(path), why="it is not UTF-8") from None
    team._folder = path.parent
    return team


def _wrong(path: Path, mistakes: list[tuple[int, int, str]]) -> BadInput:
    lines = [f"{path}:{line}:{column}: {what}" for line, column, what in mistakes]
    return BadInput("team_file_wrong", path=str(path), lines=lines)


def _places(root: yaml.Node | None, mistake: ErrorDetails) -> Iterator[tuple[int, int, str]]:
    """Yield line, column and text of a mistake; one for each name that does not exist."""
    said = in_words(mistake, TeamFile)
    names_one_each = mistake["type"] == "value_error" and not mistake["loc"]
    for line in said.splitlines() if names_one_each else [f"{'.'.join(map(str, mistake['loc']))}{MISTAKE}{said}"]:
        path, _, what = line.partition(MISTAKE)
        location = tuple(int(part) if part.isdigit() else part for part in path.split(".")) if path else ()
        yield *line_and_column(root, location), f"{path}{MISTAKE}{what}" if path else what


def policy_of(team: TeamFile) -> Policy:
    """Return the policy of the team file, with the roles of its people and of its user groups."""
    file = team.policy
    return Policy(
        roles=team.people_by_role(),
        rules=[Rule(rule.action, rule.environment, rule.risk, rule.approvals) for rule in file.rules],
        windows=[Window(window.title, window.begins, window.ends) for window in file.freeze_windows],
        break_glass=frozenset(file.break_glass),
        break_glass_after=file.break_glass_after,
        cool_down=file.cool_down,
        expires=file.approval_expires,
        incident_roles={**INCIDENT_ROLES, **{str(verb): role for verb, role in file.incidents.items()}},
    )


def maintenance_of(team: TeamFile) -> list[Maintenance]:
    """Return the windows of maintenance of the team's file."""
    return [
        Maintenance(name, window.title, window.begins, window.lasts, window.notice, window.every, window.runbook)
        for name, window in team.schedules.maintenance.items()
    ]

"""The team file (`config/tamv.yaml`), typed. Everything specific to a team is in this file, nothing in the code."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bot.domain.errors import BadInput
from bot.domain.incident import Severity
from bot.domain.policy import Policy, Risk, Rule, Window
from bot.domain.times import parse_duration, parse_zone
from bot.domain.translated import Translated
from bot.yaml_text import load

PRODUCTION = "production"  # the default environment, and the only one whose metrics and deployments are judged

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


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


class Service(_Part):
    """A deployed service: where it runs and who owns it."""

    title: str | None = None
    deployment: str | None = None
    namespaces: dict[str, str] = Field(default_factory=dict, description="environment → namespace")
    chart: str | None = None
    replicas_value: str = Field("replicaCount", description="the chart value that sets the replicas")
    owners: list[str] = Field(default_factory=list, description="teams")
    dashboards: list[Dashboard] = Field(default_factory=list)
    board: str | None = Field(None, description="board of its snapshots")
    health: dict[str, HealthCheck] = Field(default_factory=dict, description="environment → health endpoint")


class VaultSecret(_Part):
    """One entry of a secret in Vault that is rotated regularly."""

    paths: dict[str, str] = Field(description="environment → path below the mount")
    key: str = Field(description="the entry to rotate; the secret's other entries are left unchanged")
    form: Literal["base64", "hex"] = Field(description="encoding of its 32 random bytes")
    mount: str = "secret"
    rotate_every: Duration = Field(
        timedelta(days=90), description="rotation interval; the App Home shows secrets that are due"
    )


class Backups(_Part):
    """Where backups are stored, and which of them are never deleted."""

    bucket: str
    prefix: str = Field(min_length=1)
    environment: str = Field(PRODUCTION, description="the only environment whose backups are stored here")
    keep: int = Field(7, ge=1, description="number of newest backups that are never deleted, whatever their age")
    fresh: Duration = Field(timedelta(hours=26), description="if the newest backup is older, the last backup failed")


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
    invite: list[str] = Field(default_factory=list, description="teams that are invited to the incident's channel")
    update_every: Duration | None = Field(None, description="how often an update is due")
    followups: list[UsualFollowUp] = Field(default_factory=list, description="opened automatically on resolve")


class Query(_Part):
    """One metric of the catalogue. `$service` and `$namespace` in `promql` are replaced, quoted for PromQL."""

    title: Translated
    promql: str
    unit: Literal["ms", "s", "%", "fps", "req/s", "count", "bytes", "cores", ""] = ""
    threshold: float | None = None
    direction: Literal["above", "below"] = Field("above", description="the side of the threshold that is a breach")


class Board(_Part):
    title: Translated
    queries: list[str]


class Owner(_Part):
    """A person, and their names in the systems that the bot uses."""

    name: str
    slack: str
    github: str | None = None
    pagerduty: str | None = None
    email: str | None = None
    login: str | None = Field(None, description="operating-system user with which they call `tamv-bot`")
    roles: list[str] = Field(default_factory=list, description="responder, incident_commander, …")


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


class PolicyFile(_Part):
    """Who must approve what, and what is never allowed."""

    rules: list[PolicyRule] = Field(default_factory=list)
    freeze_windows: list[FreezeWindow] = Field(default_factory=list)
    break_glass: list[Severity] = Field(default_factory=lambda: [Severity.SEV1])
    cool_down: Duration = timedelta(seconds=30)
    approval_expires: Duration = timedelta(minutes=15)
    limits: Limits = Limits()


class Alerts(_Part):
    severity: dict[str, Severity] = Field(
        default_factory=dict, description="alert's severity label → incident severity"
    )
    default: Severity = Severity.SEV3
    service_label: str = "service"


class Targets(_Part):
    mtta: Duration | None = None
    mttr: Duration
    mtbf: Duration
    deploy_success: float
    rollback_rate: float
    rto: Duration
    rpo: Duration
    response: Duration
    stakeholders_told: Duration


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


class Schedules(_Part):
    """Recurring events."""

    drills: list[PlannedDrill] = Field(default_factory=list)


class TeamFile(_Part):
    """The whole team file."""

    organisation: str
    emergency_contact: str | None = None
    timezone: str = Field(
        "UTC",
        description="IANA time zone of the times that people type, where Slack does not know their own",
    )
    manifests: str = Field("manifests", description="folder of the manifests that runbooks may apply or run")
    stakeholders_channel: str | None = Field(
        None, description="channel of announcements; default: the incident channel"
    )
    services: dict[str, Service]
    default_service: str | None = None
    tempo_datasource: str = Field("tempo", description="uid of the Tempo data source in Grafana")
    teams: dict[str, Team]
    people: list[Owner] = Field(default_factory=list)
    secrets: dict[str, VaultSecret] = Field(default_factory=dict, description="secrets that vault.rotate may rotate")
    databases: dict[str, str] = Field(default_factory=dict, description="RDS instance → environment")
    backups: dict[str, Backups] = Field(default_factory=dict)
    codeowners: str = ""
    severities: dict[Severity, SeverityPolicy]
    alerts: Alerts = Alerts()
    queries: dict[str, Query]
    boards: dict[str, Board]
    targets: Targets
    followups: FollowUpPolicy
    policy: PolicyFile = PolicyFile()
    drills: DrillPolicy = DrillPolicy()
    schedules: Schedules = Schedules()

    @property
    def zone(self) -> tzinfo:
        return parse_zone(self.timezone) or UTC

    @model_validator(mode="after")
    def _names_exist(self) -> TeamFile:
        mistakes: list[str] = []
        for name, service in self.services.items():
            mistakes += [
                f"services.{name}.owners: no team {owner}" for owner in service.owners if owner not in self.teams
            ]
            if service.board and service.board not in self.boards:
                mistakes.append(f"services.{name}.board: no board {service.board}")
        for level, policy in self.severities.items():
            for team in {*policy.page, *policy.invite} - set(self.teams):
                mistakes.append(f"severities.{level}: no team {team}")
        for name, board in self.boards.items():
            mistakes += [f"boards.{name}: no query {query}" for query in board.queries if query not in self.queries]
        if missing := [level.value for level in Severity if level not in self.severities]:
            mistakes.append(f"severities: {', '.join(missing)} missing")
        if parse_zone(self.timezone) is None:
            mistakes.append(f"timezone: no time zone {self.timezone}")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def person(self, **by: str) -> Owner | None:
        """Return the person with this name in one system: `slack=`, `github=`, `pagerduty=`, `email=` or `login=`."""
        ((system, name),) = by.items()
        return next((owner for owner in self.people if getattr(owner, system) == name), None)


class FollowUpPolicy(_Part):
    """Defaults of follow-ups and of their GitHub issues."""

    labels: list[str] = Field(default_factory=lambda: ["incident-followup"])
    due_in: Duration = timedelta(days=14)
    remind_every: Duration = timedelta(days=7)
    owner: str = Field(description="team that owns follow-ups without another owner")


TeamFile.model_rebuild()


def load_team(path: Path) -> TeamFile:
    """Read and validate the team file. Raises BadInput with one line per mistake."""
    try:
        raw = load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BadInput("team_file_unreadable", path=str(path), why=problem.strerror) from problem
    except yaml.YAMLError as problem:
        raise BadInput("team_file_not_yaml", path=str(path), why=" ".join(str(problem).split())) from problem
    try:
        return TeamFile.model_validate(raw)
    except ValidationError as mistakes:
        lines = [
            f"{'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg'].removeprefix('Value error, ')}"
            for mistake in mistakes.errors(include_input=False, include_url=False)
        ]
        raise BadInput("team_file_wrong", path=str(path), lines=lines) from mistakes


def policy_of(team: TeamFile) -> Policy:
    """Return the policy of the team file, with the roles of its people."""
    file = team.policy
    roles = {role for person in team.people for role in person.roles}
    return Policy(
        roles={role: frozenset(owner.slack for owner in team.people if role in owner.roles) for role in roles},
        rules=[Rule(rule.action, rule.environment, rule.risk, rule.approvals) for rule in file.rules],
        windows=[Window(window.title, window.begins, window.ends) for window in file.freeze_windows],
        break_glass=frozenset(file.break_glass),
        cool_down=file.cool_down,
        expires=file.approval_expires,
    )

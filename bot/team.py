"""The team's file (`config/tamv.yaml`), typed. Nothing of a team is in the code; all of it is here."""

from __future__ import annotations

import re
from datetime import timedelta
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
from bot.domain.times import parse_duration
from bot.domain.translated import Translated
from bot.yaml_text import load

PRODUCTION = "production"  # the environment whose figures, rules and rights count

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dashboard(_Part):
    title: str
    url: str


class HealthCheck(_Part):
    """Where a service says how it is, and what it must say."""

    url: AnyHttpUrl
    status: int = Field(200, ge=100, le=599)
    within: Duration = Field(timedelta(seconds=2), description="the longest that the answer may take")
    body: str | None = Field(None, description="a regular expression that the answer must hold")

    @field_validator("body")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as mistake:
            raise ValueError(f"is no regular expression: {mistake}") from None
        return value


class Service(_Part):
    """One thing that runs: where it is deployed and who owns it."""

    title: str | None = None
    deployment: str | None = None
    namespaces: dict[str, str] = Field(default_factory=dict, description="environment → namespace")
    chart: str | None = None
    replicas_value: str = Field("replicaCount", description="the chart's value that says how many replicas")
    owners: list[str] = Field(default_factory=list, description="teams")
    dashboards: list[Dashboard] = Field(default_factory=list)
    board: str | None = Field(None, description="the board of its snapshots")
    health: dict[str, HealthCheck] = Field(default_factory=dict, description="environment → health endpoint")


class VaultSecret(_Part):
    """One entry of a secret in Vault that is made anew from time to time."""

    paths: dict[str, str] = Field(description="environment → path below the mount")
    key: str = Field(description="the entry; the others of the secret stay as they are")
    form: Literal["base64", "hex"] = Field(description="how its 32 random bytes are written")
    mount: str = "secret"
    rotate_every: Duration = Field(
        timedelta(days=90), description="how old it may become; the App Home says when it is"
    )


class Backups(_Part):
    """Where backups lie, and what is never deleted of them."""

    bucket: str
    prefix: str = Field(min_length=1)
    environment: str = Field(PRODUCTION, description="whose backups lie here, and no other's")
    keep: int = Field(7, ge=1, description="the newest ones that stay, whatever their age")
    fresh: Duration = Field(timedelta(hours=26), description="an older newest one means that the last backup failed")


class Contact(_Part):
    name: str
    email: str | None = None
    phone: str | None = None


class Team(_Part):
    """People who answer together."""

    usergroup: str | None = Field(None, description="Slack user group id")
    members: list[str] = Field(default_factory=list, description="Slack user ids")
    github: list[str] = Field(default_factory=list, description="GitHub logins; the first one gets the issues")
    github_team: str | None = Field(None, description="mentioned in issues, as organisation/team")
    pagerduty: str | None = Field(None, description="PagerDuty service by name or id")
    contact: Contact | None = None


class UsualFollowUp(_Part):
    """Something that is to be done after every incident of a severity."""

    title: Translated
    owner: str | None = None
    due_in: Duration | None = None


class SeverityPolicy(_Part):
    """What a severity means for people."""

    title: Translated
    page: list[str] = Field(default_factory=list, description="teams that are paged when one is declared")
    invite: list[str] = Field(default_factory=list, description="teams that are invited to the channel")
    update_every: Duration | None = Field(None, description="how often an update is due")
    followups: list[UsualFollowUp] = Field(default_factory=list, description="opened by themselves on resolve")


class Query(_Part):
    """One figure of the catalogue. `$service` and `$namespace` are filled in, quoted for PromQL."""

    title: Translated
    promql: str
    unit: Literal["ms", "s", "%", "fps", "req/s", "count", "bytes", "cores", ""] = ""
    threshold: float | None = None
    direction: Literal["above", "below"] = Field("above", description="the side of the threshold that is bad")


class Board(_Part):
    title: Translated
    queries: list[str]


class Owner(_Part):
    """Somebody's names in the places where the bot meets them."""

    name: str
    slack: str
    github: str | None = None
    pagerduty: str | None = None
    email: str | None = None
    login: str | None = Field(None, description="user name where `tamv-bot` is called in a terminal")
    roles: list[str] = Field(default_factory=list, description="responder, incident_commander, …")


class PolicyRule(_Part):
    """Where a risk is other than the action says."""

    action: str = "*"
    environment: str = "*"
    risk: Risk | None = None
    approvals: int | None = Field(None, ge=0, le=5)


class FreezeWindow(_Part):
    """A time in which every change needs an approval."""

    title: str
    begins: AwareDatetime
    ends: AwareDatetime


class Limits(_Part):
    """What no run may go beyond."""

    replicas: int = Field(20, ge=0, description="the most that a deployment may be scaled to")
    protected: list[str] = Field(default_factory=list, description="names that nothing may change")


class PolicyFile(_Part):
    """Who must agree, and what is never done."""

    rules: list[PolicyRule] = Field(default_factory=list)
    freeze_windows: list[FreezeWindow] = Field(default_factory=list)
    break_glass: list[Severity] = Field(default_factory=lambda: [Severity.SEV1])
    cool_down: Duration = timedelta(seconds=30)
    approval_expires: Duration = timedelta(minutes=15)
    limits: Limits = Limits()


class Alerts(_Part):
    severity: dict[str, Severity] = Field(default_factory=dict, description="the alert's severity label → ours")
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
    """How drills are declared, and whether anybody is paged for them."""

    severity: Severity = Severity.SEV3
    page: bool = Field(False, description="whether a drill pages the teams that its severity pages")


class PlannedDrill(_Part):
    """A drill that is held every year."""

    title: Translated
    months: list[Annotated[int, Field(ge=1, le=12)]] = Field(min_length=1)
    scenarios: list[str] = Field(default_factory=list, description="what `/drill start` may be given; one is enough")


class Schedules(_Part):
    """What comes round by the calendar."""

    drills: list[PlannedDrill] = Field(default_factory=list)


class TeamFile(_Part):
    """All of the team's file."""

    organisation: str
    emergency_contact: str | None = None
    manifests: str = Field("manifests", description="folder of the manifests that runbooks may apply or run")
    stakeholders_channel: str | None = Field(None, description="Slack channel of announcements; the incidents' one")
    services: dict[str, Service]
    default_service: str | None = None
    tempo_datasource: str = Field("tempo", description="uid of Tempo's data source in Grafana")
    teams: dict[str, Team]
    people: list[Owner] = Field(default_factory=list)
    secrets: dict[str, VaultSecret] = Field(default_factory=dict, description="what vault.rotate may make anew")
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

    @model_validator(mode="after")
    def _names_exist(self) -> TeamFile:
        wrong: list[str] = []
        for name, service in self.services.items():
            wrong += [f"services.{name}.owners: no team {owner}" for owner in service.owners if owner not in self.teams]
            if service.board and service.board not in self.boards:
                wrong.append(f"services.{name}.board: no board {service.board}")
        for level, policy in self.severities.items():
            for team in {*policy.page, *policy.invite} - set(self.teams):
                wrong.append(f"severities.{level}: no team {team}")
        for name, board in self.boards.items():
            wrong += [f"boards.{name}: no query {query}" for query in board.queries if query not in self.queries]
        if missing := [level.value for level in Severity if level not in self.severities]:
            wrong.append(f"severities: {', '.join(missing)} missing")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def person(self, **by: str) -> Owner | None:
        """The one person whose name in some place is this: `slack=`, `github=`, `pagerduty=` or `email=`."""
        ((system, name),) = by.items()
        return next((owner for owner in self.people if getattr(owner, system) == name), None)


class FollowUpPolicy(_Part):
    """How follow-ups become issues."""

    labels: list[str] = Field(default_factory=lambda: ["incident-followup"])
    due_in: Duration = timedelta(days=14)
    remind_every: Duration = timedelta(days=7)
    owner: str = Field(description="the team that gets what nobody else owns")


TeamFile.model_rebuild()


def load_team(path: Path) -> TeamFile:
    """Read and check the team's file. Raises BadInput with a line for each mistake."""
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
    """The rules of the team's file, with the roles of its people."""
    written = team.policy
    roles = {role for person in team.people for role in person.roles}
    return Policy(
        roles={role: frozenset(owner.slack for owner in team.people if role in owner.roles) for role in roles},
        rules=[Rule(rule.action, rule.environment, rule.risk, rule.approvals) for rule in written.rules],
        windows=[Window(window.title, window.begins, window.ends) for window in written.freeze_windows],
        break_glass=frozenset(written.break_glass),
        cool_down=written.cool_down,
        expires=written.approval_expires,
    )

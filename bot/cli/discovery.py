"""Look at what a team has: workloads, metrics, alert severities, PagerDuty services, Slack groups, code owners."""

from __future__ import annotations

import re
from collections.abc import Collection, Set
from dataclasses import dataclass, field

import yaml

from bot.deps import Deps
from bot.domain.errors import BotError
from bot.integrations.prometheus import Prometheus
from bot.yaml_text import load

# Namespaces of the platform, where no service of a team runs.
PLATFORM = re.compile(
    r"(kube-.*|default|.*-system|cert-manager|external-secrets|ingress.*|istio.*|linkerd.*|monitoring|observability"
    r"|prometheus|grafana|loki|tempo|argocd|flux.*|vault|velero|tamv-bot)$"
)
ENVIRONMENTS = (
    ("staging", r"stag|\bstg\b|preprod|\buat\b"),
    ("development", r"\bdev\b|\btest\b|development|sandbox|preview"),
)
INCIDENT_CHANNEL = re.compile(r"(?!inc-).*(inciden|outage|on-?call|guardia)")
MOST_PEOPLE = 20
SERVICE_LABELS = ("service", "app", "service_name", "job", "container", "destination_service_name", "deployment")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that a usual family of metrics allows; `$selector` selects the service's series."""

    name: str
    family: str
    promql: str
    unit: str
    threshold: float | None
    service_labels: tuple[str, ...] = SERVICE_LABELS


USUAL = (
    Metric("latency_p95", "http_request_duration_seconds_bucket",
           "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{$selector}[5m]))) * 1000",
           "ms", 500),
    Metric("error_rate", "http_requests_total",
           'sum(rate(http_requests_total{$all,status=~"5.."}[5m])) '
           "/ sum(rate(http_requests_total{$selector}[5m])) * 100",
           "%", 2),
    Metric("request_rate", "http_requests_total", "sum(rate(http_requests_total{$selector}[5m]))", "req/s", None),
    Metric("latency_p95", "http_server_request_duration_seconds_bucket",
           "histogram_quantile(0.95, sum by (le) "
           "(rate(http_server_request_duration_seconds_bucket{$selector}[5m]))) * 1000", "ms", 500),
    Metric("error_rate", "http_server_request_duration_seconds_count",
           'sum(rate(http_server_request_duration_seconds_count{$all,http_response_status_code=~"5.."}[5m])) '
           "/ sum(rate(http_server_request_duration_seconds_count{$selector}[5m])) * 100", "%", 2),
    Metric("grpc_latency_p95", "grpc_server_handling_seconds_bucket",
           "histogram_quantile(0.95, sum by (le) (rate(grpc_server_handling_seconds_bucket{$selector}[5m]))) * 1000",
           "ms", 500),
    Metric("grpc_error_rate", "grpc_server_handled_total",
           'sum(rate(grpc_server_handled_total{$all,grpc_code=~"Unknown|Internal|Unavailable|DeadlineExceeded"}[5m])) '
           "/ sum(rate(grpc_server_handled_total{$selector}[5m])) * 100", "%", 2),
    Metric("ingress_error_rate", "nginx_ingress_controller_requests",
           'sum(rate(nginx_ingress_controller_requests{$all,status=~"5.."}[5m])) '
           "/ sum(rate(nginx_ingress_controller_requests{$selector}[5m])) * 100", "%", 2,
           ("exported_service", "service", "ingress")),
    Metric("mesh_error_rate", "istio_requests_total",
           'sum(rate(istio_requests_total{$all,response_code=~"5.."}[5m])) '
           "/ sum(rate(istio_requests_total{$selector}[5m])) * 100", "%", 2,
           ("destination_service_name", "destination_workload", "destination_app")),
    Metric("gpu_utilization", "DCGM_FI_DEV_GPU_UTIL", "avg(DCGM_FI_DEV_GPU_UTIL)", "%", 90, ()),
    Metric("gpu_utilization", "nvidia_gpu_utilization_gpu", "avg(nvidia_gpu_utilization_gpu)", "%", 90, ()),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServiceGuess:
    """A service: the reference of its workload, and where it runs."""

    workload: str
    namespaces: dict[str, str]


@dataclass(frozen=True, slots=True)
class QueryGuess:
    promql: str
    unit: str
    threshold: float | None


@dataclass(frozen=True, slots=True)
class TeamGuess:
    usergroup: str | None = None
    github_team: str | None = None
    pagerduty: str | None = None


@dataclass(slots=True)
class Discovery:
    """What was found; `unseen` are the integrations that could not be asked, with the reason."""

    organisation: str | None = None
    channel: str | None = None
    services: dict[str, ServiceGuess] = field(default_factory=dict)
    queries: dict[str, QueryGuess] = field(default_factory=dict)
    teams: dict[str, TeamGuess] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)  # of the incident channel: Slack user id → name
    severities: list[str] = field(default_factory=list)
    pagerduty: list[str] = field(default_factory=list)
    unseen: dict[str, BotError] = field(default_factory=dict)


async def discover(deps: Deps, namespaces: Collection[str] = (), *, slack: bool = True) -> Discovery:
    """Look at every integration that is configured; only reads. `namespaces` limits the cluster's."""
    discovery = Discovery()
    looks = [
        ("Kubernetes", _services(deps, discovery, namespaces) if deps.kubernetes else None),
        ("Prometheus", _queries(deps.prometheus, discovery) if deps.prometheus else None),
        ("Alertmanager", _severities(deps, discovery) if deps.alertmanager else None),
        ("Slack", _slack(deps, discovery) if slack else None),
        ("GitHub", _owners(deps, discovery) if deps.github else None),
        ("PagerDuty", _pagerduty(deps, discovery) if deps.pagerduty else None),
    ]
    for name, look in looks:
        try:
            if look:
                await look
        except BotError as problem:
            discovery.unseen[name] = problem
    return discovery


def environment_of(namespace: str) -> str:
    """Guess the environment from a namespace's name; production unless it says another."""
    readable = namespace.replace("_", "-").replace("-", " ")
    return next((name for name, pattern in ENVIRONMENTS if re.search(pattern, readable)), "production")


async def _services(deps: Deps, discovery: Discovery, only: Collection[str]) -> None:
    if deps.kubernetes is None:
        return
    names = list(only) or [name for name in await deps.kubernetes.cluster.namespaces() if not PLATFORM.fullmatch(name)]
    for namespace in sorted(names, key=lambda name: (environment_of(name) != "production", name)):
        environment = environment_of(namespace)
        for reference in await deps.kubernetes.workloads.names(namespace):
            name = reference.rpartition("/")[2]
            same = discovery.services.get(name)
            if same and environment in same.namespaces:
                discovery.services[f"{namespace}-{name}"] = ServiceGuess(reference, {environment: namespace})
            elif same and same.workload == reference:
                same.namespaces[environment] = namespace
            else:
                discovery.services[name if not same else f"{namespace}-{name}"] = ServiceGuess(
                    reference, {environment: namespace}
                )


async def _queries(prometheus: Prometheus, discovery: Discovery) -> None:
    families = "|".join(dict.fromkeys(metric.family for metric in USUAL))
    there = {
        sample.labels["__name__"]
        for sample in await prometheus.query(f'count by (__name__) ({{__name__=~"{families}"}})')
        if "__name__" in sample.labels
    }
    best: dict[str, tuple[int, Metric, str | None]] = {}
    for metric in USUAL:
        if metric.family not in there:
            continue
        label, matching = await _service_label(prometheus, metric, set(discovery.services))
        if metric.name not in best or matching > best[metric.name][0]:
            best[metric.name] = (matching, metric, label)
    for _, metric, label in best.values():
        selector = f'{label}="$service"' if label else ""
        promql = metric.promql.replace("$all,", f"{selector}," if selector else "").replace("$selector", selector)
        discovery.queries[metric.name] = QueryGuess(promql, metric.unit, metric.threshold)


async def _service_label(prometheus: Prometheus, metric: Metric, services: Set[str]) -> tuple[str | None, int]:
    """Return the label whose values are names of services, and of how many; else the first that the series have."""
    present: list[str] = []
    for label in metric.service_labels:
        samples = await prometheus.query(f'count by ({label}) ({metric.family}{{{label}!=""}})')
        values = {sample.labels.get(label) for sample in samples}
        if matching := len(values & services):
            return label, matching
        if values:
            present.append(label)
    return (present[0] if present else None), 0


async def _severities(deps: Deps, discovery: Discovery) -> None:
    if deps.alertmanager is None:
        return
    try:
        config = load(await deps.alertmanager.config())
    except yaml.YAMLError:
        return
    text = str(config)
    discovery.severities = list(dict.fromkeys(re.findall(r"severity['\"]?\s*[=:]~?\s*['\"]*([a-z0-9]+)", text)))


async def _slack(deps: Deps, discovery: Discovery) -> None:
    identity = await deps.slack.read("auth.test")
    discovery.organisation = str(identity.get("team") or "") or None
    channels = await deps.slack.paginate("conversations.list", "channels", exclude_archived="true")
    likely = [one for one in channels if one.get("is_member") or INCIDENT_CHANNEL.match(one["name"])]
    likely.sort(key=lambda one: (not INCIDENT_CHANNEL.match(one["name"]), not one.get("is_member"), len(one["name"])))
    discovery.channel = f"#{likely[0]['name']}" if likely else None
    if likely:
        members = await deps.slack.paginate("conversations.members", "members", channel=likely[0]["id"])
        others = [str(member) for member in members if member != identity.get("user_id")][:MOST_PEOPLE]
        discovery.people = {id: (await deps.slack.person(id, id, deps.locale)).name for id in others}
    groups = (await deps.slack.read("usergroups.list")).get("usergroups") or []
    for group in groups:
        discovery.teams[str(group.get("name") or group["handle"])] = TeamGuess(usergroup=str(group["id"]))


async def _owners(deps: Deps, discovery: Discovery) -> None:
    """Name the GitHub team of each team that has one of the same name among the code owners."""
    if deps.github is None:
        return
    handles = dict.fromkeys(re.findall(r"@([\w.-]+/[\w.-]+)", await deps.github.codeowners() or ""))
    for handle in handles:
        name = handle.rpartition("/")[2]
        match = next((team for team in discovery.teams if _plain(team) == _plain(name)), None)
        team = discovery.teams.get(match or name, TeamGuess())
        discovery.teams[match or name] = TeamGuess(team.usergroup, handle, team.pagerduty)


async def _pagerduty(deps: Deps, discovery: Discovery) -> None:
    """Give each PagerDuty service to the team whose name it shares; the first to the first team otherwise."""
    if deps.pagerduty is None:
        return
    discovery.pagerduty = await deps.pagerduty.services()
    left = list(discovery.pagerduty)
    for name, team in list(discovery.teams.items()):
        core = re.sub(r"team|equipo|group", "", _plain(name))
        if match := next((service for service in left if core and core in _plain(service)), None):
            discovery.teams[name] = TeamGuess(team.usergroup, team.github_team, match)
            left.remove(match)
    if left and discovery.teams and not any(team.pagerduty for team in discovery.teams.values()):
        name, team = next(iter(discovery.teams.items()))
        discovery.teams[name] = TeamGuess(team.usergroup, team.github_team, left[0])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())

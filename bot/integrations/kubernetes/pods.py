"""Pods: list, resource usage, logs, events and descriptions."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bot.domain.errors import BotError, NotFound, Refused, Unavailable
from bot.integrations.kubernetes.cluster import Cluster, client, response_error, to_number
from bot.integrations.kubernetes.status import (
    condition,
    container_statuses,
    describe_end,
    is_sidecar,
    last_end,
    pod_obstacles,
    pod_phase,
)
from bot.integrations.kubernetes.workloads import Workloads, seen_at

FIELDS: Mapping[str, Sequence[str]] = {
    "pod": (
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.phase",
        "status.reason",
        "status.message",
        "status.podIP",
        "status.startTime",
    ),
    "deployment": (
        "spec.replicas",
        "status.updatedReplicas",
        "status.availableReplicas",
        "status.unavailableReplicas",
        "spec.strategy.type",
    ),
    "statefulset": (
        "spec.replicas",
        "status.readyReplicas",
        "status.updatedReplicas",
        "status.currentRevision",
        "status.updateRevision",
        "spec.updateStrategy.type",
    ),
    "daemonset": (
        "status.desiredNumberScheduled",
        "status.numberReady",
        "status.updatedNumberScheduled",
        "status.numberUnavailable",
        "spec.updateStrategy.type",
    ),
    "rollout": (
        "spec.replicas",
        "status.phase",
        "status.message",
        "status.updatedReplicas",
        "status.availableReplicas",
    ),
    "job": ("status.active", "status.succeeded", "status.failed", "status.startTime", "status.completionTime"),
    "node": ("spec.unschedulable", "status.nodeInfo.kubeletVersion", "status.capacity.cpu", "status.capacity.memory"),
}
CONTAINERS = (
    ("init container", "initContainers"),
    ("container", "containers"),
    ("ephemeral container", "ephemeralContainers"),
)
EVENTS_SHOWN = 20
LOGS_AT_ONCE = 10
LOG_LIMIT = 4 * 1024 * 1024  # bytes of one container's log
ANSWER_LIMIT = 16 * 1024  # bytes of a pod's answer
UNREACHED = "error trying to reach service"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
# Escape sequences of terminals (colours, titles, links), control characters but for tabs and line breaks, and what
# turns the direction of writing: a line would read as what it is not.
_CONTROL = re.compile(
    r"\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]{0,500}(?:\x07|\x1b\\)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as in `kubectl get pods`. `age` in seconds; `why` it does not run, or how its containers ended last."""

    name: str
    phase: str
    ready: str
    restarts: int
    node: str | None
    age: float
    why: str = ""
    containers: list[str] = field(default_factory=list)
    uid: str = ""
    default_container: str = ""  # kubectl's: the annotated one, or the first that is no sidecar
    tag: str = ""  # of that container's image
    is_ready: bool = False  # by its condition: a readiness gate may keep it away although all of its containers are

    @property
    def is_troubled(self) -> bool:
        ready, _, wanted = self.ready.partition("/")
        return bool(self.why) or (self.phase not in ("Succeeded", "Completed") and ready != wanted)


@dataclass(frozen=True, slots=True)
class Logs:
    """Log lines by pod (`pod/container` where it has several), and why the others have none (empty: no line)."""

    texts: dict[str, str]
    silent: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A pod's answer to a request. Without a `status` it could not be reached, and `text` says why."""

    status: int | None
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of a pod or a node: CPU in cores, memory in bytes; None if metrics-server has not measured it."""

    name: str
    cpu: float | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """An event of the cluster."""

    at: datetime | None
    kind: str
    reason: str
    about: str
    message: str
    count: int


class Pods:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _v1(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._cluster.api)

    async def list(self, namespace: str, selector: str | None = None) -> list[Pod]:
        """Return the pods that match the selector, all pages of them."""
        found = await self._cluster.list_all(
            f"pods of {namespace}", self._v1.list_namespaced_pod, namespace, label_selector=selector
        )
        return [_pod(pod) for pod in found]

    async def top(self, namespace: str) -> Sequence[Usage]:
        """Return the usage of each pod, from metrics-server."""
        usages = await self._metrics("pods", namespace)
        return [
            _usage(usage, [container.get("usage") or {} for container in usage.get("containers") or ()])
            for usage in usages
        ]

    async def top_nodes(self) -> Sequence[Usage]:
        usages = await self._metrics("nodes", None)
        return [_usage(usage, [usage.get("usage") or {}]) for usage in usages]

    async def logs(
        self,
        pods: Sequence[Pod],
        namespace: str,
        *,
        since: float | None = None,
        tail: int = 200,
        container: str | None = None,
        previous: bool = False,
    ) -> Logs:
        """Return the newest log lines of the containers of several pods; `since` in seconds.

        A container without a log does not keep the others back. Raises Refused if the bot may not read any.
        """
        options: dict[str, Any] = {"previous": previous or None, "tail_lines": tail, "timestamps": True}
        options["since_seconds"] = int(since) if since else None
        sources = [
            (pod.name if len(names) == 1 else f"{pod.name}/{name}", pod.name, name)
            for pod in pods
            for names in [[container] if container else pod.containers]
            for name in names
        ]
        free = asyncio.Semaphore(LOGS_AT_ONCE)

        async def read(pod: str, name: str) -> str | BotError:
            async with free:
                try:
                    return await self._log(pod, namespace, name, options)
                except BotError as problem:
                    return problem

        results = await asyncio.gather(*(read(pod, name) for _, pod, name in sources))
        refused = [result for result in results if isinstance(result, Refused) and result.key == "kubernetes_forbidden"]
        if refused and len(refused) == len(results):
            raise refused[0]
        texts, silent = {}, {}
        for (shown, _, _), result in zip(sources, results, strict=True):
            if isinstance(result, str) and result:
                texts[shown] = result
            else:
                silent[shown] = "" if isinstance(result, str) else str(result.facts.get("why") or result.key)
        return Logs(texts, silent)

    async def _log(self, pod: str, namespace: str, container: str, options: Mapping[str, Any]) -> str:
        """Return a container's log as `plain_text`: at most the last LOG_LIMIT bytes of it, in whole lines."""
        response = await self._cluster.ask(
            f"logs of {namespace}/{pod}", self._v1.read_namespaced_pod_log_without_preload_content, pod, namespace,
            container=container, **options,
        )  # fmt: skip
        content, cut = await self._cluster.end_of(f"logs of {namespace}/{pod}", response, LOG_LIMIT)
        whole_lines = content.partition(b"\n")[2] if cut else content
        if cut and not whole_lines:  # its beginning is not known, so nobody could tell whether it holds a secret
            raise Refused("log_too_long", why=f"a line longer than {LOG_LIMIT // 1024 // 1024} MiB")
        return plain_text(whole_lines)

    async def get(self, pod: str, namespace: str, port: int, path: str, scheme: str = "http") -> Answer:
        """Ask a port of a pod through the API server, as `kubectl port-forward` and curl do.

        A body over ANSWER_LIMIT is cut. Raises Refused if the bot may not (`get` of `pods/proxy`).
        """
        what = f"port {port} of {namespace}/{pod}"
        name = f"{scheme}:{pod}:{port}" if scheme == "https" else f"{pod}:{port}"
        call = self._v1.connect_get_namespaced_pod_proxy_with_path_without_preload_content
        response = await self._cluster.ask(what, call, name, namespace, path.lstrip("/"))
        body = await self._cluster.start_of(what, response, ANSWER_LIMIT + 1)
        text, cut = plain_text(body[:ANSWER_LIMIT]), len(body) > ANSWER_LIMIT
        if response.status >= 400 and (why := _words_of_api_server(body)) is not None:
            if not why.startswith(UNREACHED):
                raise response_error(what, response.status, body)
            return Answer(None, why.removeprefix(UNREACHED).lstrip(": "))
        return Answer(response.status, text, cut)

    async def events(self, namespace: str, about: str | None = None) -> Sequence[ClusterEvent]:
        """Return events, the newest last."""
        selector = f"involvedObject.name={about}" if about else None
        found = await self._cluster.list_all(
            f"events of {namespace}", self._v1.list_namespaced_event, namespace, field_selector=selector
        )
        return sorted(map(_event, found), key=lambda event: event.at or datetime.min.replace(tzinfo=UTC))

    async def _metrics(self, plural: str, namespace: str | None) -> Sequence[dict[str, Any]]:
        custom = client.CustomObjectsApi(self._cluster.api)
        group, version = "metrics.k8s.io", "v1beta1"
        listing, where = (
            (custom.list_cluster_custom_object, ())
            if namespace is None
            else (custom.list_namespaced_custom_object, (namespace,))
        )
        try:
            content = await self._cluster.ask(
                f"metrics of {namespace or 'nodes'}", listing, group, version, *where, plural
            )
        except NotFound as missing:
            raise NotFound("no_metrics") from missing
        except Unavailable as silent:
            raise Unavailable(silent.key, **{**silent.facts, "service": "metrics-server"}) from silent
        items: Sequence[dict[str, Any]] = content["items"]
        return items


def _usage(metrics: Mapping[str, Any], parts: Sequence[Mapping[str, str]]) -> Usage:
    """Return the sum of what the parts use: nothing is known of it until each of them was measured."""
    cpu, memory = (_sum(part.get(resource) for part in parts) for resource in ("cpu", "memory"))
    return Usage(metrics["metadata"]["name"], cpu, None if memory is None else int(memory))


def _sum(amounts: Iterable[str | None]) -> float | None:
    found = list(amounts)
    return None if not found or None in found else sum(map(to_number, found))


def _words_of_api_server(body: bytes) -> str | None:
    """Return the message of an error of the API server's own; None for an answer of the pod's."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    is_status = isinstance(content, dict) and content.get("kind") == "Status" and content.get("apiVersion") == "v1"
    return str(content.get("message") or "") if is_status else None


def plain_text(content: bytes) -> str:
    """Return a log as text: what is no UTF-8 is replaced, what controls a terminal or the reading is left out."""
    return _CONTROL.sub("", content.decode(errors="replace"))


def _event(event: Mapping[str, Any]) -> ClusterEvent:
    involved, series = event.get("involvedObject") or {}, event.get("series") or {}
    return ClusterEvent(
        seen_at(event),
        str(event.get("type") or ""),
        str(event.get("reason") or ""),
        f"{involved.get('kind')}/{involved.get('name')}",
        " ".join(str(event.get("message") or "").split()),
        int(event.get("count") or series.get("count") or 1),
    )


def _pod(pod: Mapping[str, Any]) -> Pod:
    spec = pod["spec"]
    statuses = {status["name"]: status for _, status in container_statuses(pod)}
    lasting = [
        container["name"] for container in [*filter(is_sidecar, spec.get("initContainers") or ()), *spec["containers"]]
    ]
    default = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER) or spec["containers"][0]["name"]
    created = _time(pod["metadata"].get("creationTimestamp"))
    age = (datetime.now(UTC) - created).total_seconds() if created else 0.0
    return Pod(
        pod["metadata"]["name"],
        pod_phase(pod),
        f"{sum(bool((statuses.get(name) or {}).get('ready')) for name in lasting)}/{len(lasting)}",
        sum(int(container.get("restartCount") or 0) for _, container in container_statuses(pod)),
        spec.get("nodeName"),
        max(0.0, age),
        _why(pod),
        [*_unfinished(pod, lasting), *lasting],
        str(pod["metadata"].get("uid") or ""),
        default,
        next(
            (
                _tag(str(container.get("image") or ""))
                for container in spec["containers"]
                if container["name"] == default
            ),
            "",
        ),
        pod_phase(pod) == "Running" and condition(pod, "Ready").get("status") == "True",
    )


def _tag(image: str) -> str:
    """Return `v2` of `registry:5000/name:v2@sha256:…`; empty without a tag."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2]


def _unfinished(pod: Mapping[str, Any], lasting: Sequence[str]) -> Iterator[str]:
    """Yield the init containers that have begun and have not succeeded: their logs say why the pod does not start."""
    for is_init, container in container_statuses(pod):
        state, last = container.get("state") or {}, container.get("lastState") or {}
        if not is_init or container["name"] in lasting or not ("waiting" not in state or last):
            continue
        if (state.get("terminated") or {"exitCode": 1}).get("exitCode"):
            yield container["name"]


def _why(pod: Mapping[str, Any]) -> str:
    """Return what keeps the pod from running, or else how its containers ended last."""
    obstacles = [obstacle.message or obstacle.reason for obstacle in pod_obstacles(pod)]
    ends = [last_end(container) for _, container in container_statuses(pod)]
    return "; ".join(dict.fromkeys(filter(None, obstacles or ends)))


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None


@dataclass(frozen=True, slots=True)
class DescribeLine:
    """One line of a description. `part` is field, container, condition or event."""

    part: str
    name: str
    state: str
    why: str = ""


class Describer:
    def __init__(self, cluster: Cluster, pods: Pods, workloads: Workloads) -> None:
        self._cluster = cluster
        self._pods = pods
        self._workloads = workloads

    async def describe(self, reference: str, namespace: str) -> list[DescribeLine]:
        """Describe `pod/x`, `job/x`, `node/x` or a workload. Values of variables are left out: they may be secrets.

        A node has no namespace; its events are in `default`.
        """
        kind, _, name = reference.rpartition("/")
        kind = kind or "deployment"
        thing, events = await asyncio.gather(
            self._read(kind, name, reference, namespace),
            self._pods.events("default" if kind == "node" else namespace, name),
        )
        event_lines = [
            DescribeLine("event", event.reason, f"×{event.count}", event.message) for event in events[-EVENTS_SHOWN:]
        ]
        pods = []
        if kind == "job":
            pods = await self._pods.list(namespace, f"job-name={name}")
        elif kind not in ("pod", "node"):
            pods = await self._pods.list(namespace, await self._workloads.selector(reference, namespace))
        pod_lines = [DescribeLine("pod", pod.name, pod.phase, pod.why) for pod in pods if pod.is_troubled]
        return [*_fields(kind, thing), *_containers(thing), *_conditions(thing), *pod_lines, *event_lines]

    async def _read(self, kind: str, name: str, reference: str, namespace: str) -> Mapping[str, Any]:
        core, batch = client.CoreV1Api(self._cluster.api), client.BatchV1Api(self._cluster.api)
        match kind:
            case "pod":
                calls: tuple[Any, Any] = core.read_namespaced_pod, core.list_namespaced_pod
            case "job":
                calls = batch.read_namespaced_job, batch.list_namespaced_job
            case "node":
                calls = core.read_node, core.list_node
            case _:
                return await self._workloads.read(reference, namespace)
        thing = await self._cluster.find(kind, name, None if kind == "node" else namespace, *calls)
        return self._cluster.plain(thing)


def _fields(kind: str, thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    for path in FIELDS[kind]:
        value: Any = thing
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            yield DescribeLine("field", path.rpartition(".")[2], str(value))


def _containers(thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    """Yield all containers: the image, the state, how it ended last, and how often it was restarted."""
    spec = thing.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or spec
    statuses = {status["name"]: status for _, status in container_statuses(thing)}
    temporary = (thing.get("status") or {}).get("ephemeralContainerStatuses") or ()
    statuses |= {status["name"]: status for status in temporary}
    for part, key in CONTAINERS:
        for container in pod.get(key) or ():
            status = statuses.get(container["name"]) or {}
            state = next(iter(status.get("state") or ()), "")
            details = (status.get("state") or {}).get(state) or {}
            now = describe_end(details) if state == "terminated" else _joined(details, "reason", "message")
            last = last_end(status)
            parts = [now, f"last ended: {last}" if last else ""]
            parts.append(f"restarts: {status['restartCount']}" if status.get("restartCount") else "")
            image = f"{container['image']} {state}".strip()
            yield DescribeLine(part, container["name"], image, "; ".join(filter(None, parts)))


def _joined(details: Mapping[str, Any], *names: str) -> str:
    return ": ".join(" ".join(str(details[name]).split()) for name in names if details.get(name))


def _conditions(thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    for one in (thing.get("status") or {}).get("conditions") or ():
        yield DescribeLine("condition", one["type"], one["status"], _joined(one, "reason", "message"))

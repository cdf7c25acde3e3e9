"""Workloads: Deployments, StatefulSets, DaemonSets and Argo Rollouts, by one set of verbs.

A workload is named by a reference: `xr-engine` (a Deployment) or `statefulset/ledger`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.domain.errors import BadInput, NotFound, Refused, Unavailable, WrongState
from bot.domain.nearest import nearest
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client, diff, with_warnings
from bot.integrations.kubernetes.flux import HELM, KUSTOMIZE
from bot.integrations.kubernetes.flux import NAMESPACE as FLUX_NAMESPACE
from bot.integrations.kubernetes.status import (
    ARGO_REVISION,
    PATIENCE_SECONDS,
    REVISION,
    Obstacle,
    Rollout,
    cautions_of,
    event_obstacle,
    pause_of,
    pod_obstacles,
    replicas_of,
    rollout_of,
    workload_obstacles,
)

POLL_SECONDS = 1.0
EVENT_AGE = timedelta(minutes=3)
RELEASE = "meta.helm.sh/release-name"
ARGOCD = {"argocd-controller", "argocd-application-controller"}  # the names under which it writes
RESTARTED = "kubectl.kubernetes.io/restartedAt"
MERGE, STRATEGIC, JSON_PATCH = (
    f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch")
)

Object = dict[str, Any]
Tell = Callable[[Rollout, Sequence[Obstacle]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload; `words` are the names under which people know it. One that `scales` has replicas."""

    name: str
    title: str
    group: str
    version: str
    plural: str
    words: tuple[str, ...]
    scales: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("deployment", "Deployment", "apps", "v1", "deployments", ("deploy", "deployments")),
        Kind("statefulset", "StatefulSet", "apps", "v1", "statefulsets", ("sts", "statefulsets")),
        Kind("daemonset", "DaemonSet", "apps", "v1", "daemonsets", ("ds", "daemonsets"), scales=False),
        Kind("rollout", "Rollout", "argoproj.io", "v1alpha1", "rollouts", ("ro", "rollouts")),
    )
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Something else that sets the workload's fields: `hpa`, `keda`, `argocd`, `flux`, `helm` or `operator`.

    An autoscaler has the least and the most replicas that it allows. Argo CD and Flux `heal` if they put back by
    themselves what is changed by hand; None where that is not known. Flux's mark has a group and a namespace.
    """

    kind: str
    name: str
    least: int | None = None
    most: int | None = None
    heals: bool | None = None
    group: str | None = None
    namespace: str | None = None

    @property
    def scales(self) -> bool:
        return self.kind in ("hpa", "keda")

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def split_reference(reference: str) -> tuple[Kind | None, str]:
    """Return kind and name of `statefulset/ledger`; no kind for a bare name. Raises BadInput for an unknown kind."""
    word, slash, name = reference.rpartition("/")
    if not slash:
        return None, name
    kind = next((kind for kind in KINDS.values() if word.lower() in (kind.name, *kind.words)), None)
    if kind is None:
        raise BadInput("unknown_workload_kind", kind=word, nearest=nearest(word, KINDS), known=sorted(KINDS))
    return kind, name


def reference_to(kind: Kind, name: str) -> str:
    return name if kind.name == "deployment" else f"{kind.name}/{name}"


def is_meant(wanted: str, reference: str) -> bool:
    """Return True if a reference that somebody wrote means this one: a bare name may be of any kind."""
    return wanted in (reference, split_reference(reference)[1])


@dataclass(frozen=True, slots=True)
class Version:
    """An image of a workload's main container, and when it was first rolled out."""

    image: str
    at: datetime


class Workloads:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _custom(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self._cluster.api)

    async def find(self, reference: str, namespace: str) -> str:
        """Return the reference of the workload that is there. A bare name may be of any kind.

        Raises NotFound with the workloads of the namespace.
        """
        kind, name = split_reference(reference)
        for candidate in [kind] if kind else KINDS.values():
            try:
                await self.read(reference_to(candidate, name), namespace)
            except NotFound:
                continue
            except Refused:
                if candidate.name in ("deployment", kind.name if kind else ""):
                    raise
                continue  # the bot may not see this kind: it is looked for in the others
            return reference_to(candidate, name)
        known = await self.names(namespace)
        raise NotFound(
            "no_such_workload", name=name, namespace=namespace, known=known, nearest=nearest(reference, known)
        )

    async def names(self, namespace: str) -> list[str]:
        """Return the references of the namespace's workloads, of the kinds that the bot may list."""
        return sorted([reference async for reference, _ in self._all(namespace)])

    async def of_release(self, release: str, namespace: str) -> list[str]:
        """Return the workloads that a Helm release has installed."""
        return sorted(
            [
                reference
                async for reference, workload in self._all(namespace)
                if (workload["metadata"].get("annotations") or {}).get(RELEASE) == release
            ]
        )

    async def _all(self, namespace: str) -> AsyncIterator[tuple[str, Object]]:
        for kind in KINDS.values():
            try:
                items = await self._list(kind.group, kind.version, kind.plural, namespace)
            except (NotFound, Refused, Unavailable):
                continue
            for item in items:
                yield reference_to(kind, item["metadata"]["name"]), item

    async def read(self, reference: str, namespace: str) -> Object:
        """Return the workload as plain JSON."""
        kind, name = _kind(reference)
        found: Object = await self._cluster.ask(
            f"{kind.name} {namespace}/{name}", self._custom.get_namespaced_custom_object,
            kind.group, kind.version, namespace, kind.plural, name,
        )  # fmt: skip
        return found

    async def selector(self, reference: str, namespace: str) -> str:
        """Return the label selector of the workload's pods."""
        return _selector(await self.read(reference, namespace))

    async def replicas(self, reference: str, namespace: str) -> int:
        """Return the desired number of replicas."""
        return replicas_of(await self.read(reference, namespace))

    async def owners(self, reference: str, namespace: str) -> list[Owner]:
        """Return what else sets the workload's fields, its autoscaler first."""
        workload, autoscaler = await asyncio.gather(
            self.read(reference, namespace), self.autoscaler(reference, namespace)
        )
        return [*([autoscaler] if autoscaler else []), *_owners(workload)]

    async def autoscaler(self, reference: str, namespace: str) -> Owner | None:
        """Return the autoscaler that controls the workload, if any and if the bot may see it."""
        kind, name = _kind(reference)
        try:
            autoscalers = await self._list("autoscaling", "v2", "horizontalpodautoscalers", namespace)
        except (NotFound, Refused):
            return None
        for autoscaler in autoscalers:
            spec, metadata = autoscaler["spec"], autoscaler["metadata"]
            target = spec["scaleTargetRef"]
            if (target.get("kind"), target.get("name")) != (kind.title, name):
                continue
            keda = next((o["name"] for o in metadata.get("ownerReferences") or () if o["kind"] == "ScaledObject"), None)
            minimum = spec.get("minReplicas")
            least, most = 1 if minimum is None else int(minimum), int(spec["maxReplicas"])
            return Owner("keda" if keda else "hpa", str(keda or metadata["name"]), least, most)
        return None

    @effect("kubernetes.scale")
    async def scale(
        self,
        deployment: str,
        namespace: str,
        replicas: int,
        before: int,
        owners: Sequence[Mapping[str, Any]] = (),
        *,
        dry_run: bool = False,
    ) -> str:
        """Set the number of replicas. A dry run asks the server too, which reports what it would refuse.

        `owners` are told before an approval: what may change the number again.
        """
        kind, name = _kind(deployment)
        if not kind.scales:
            raise BadInput("daemonset_not_scaled", name=name)
        warnings: list[str] = []
        await self._cluster.ask(
            f"{kind.name} {namespace}/{name}", self._custom.patch_namespaced_custom_object_scale,
            kind.group, kind.version, namespace, kind.plural, name, {"spec": {"replicas": replicas}},
            dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER, _content_type=MERGE, warnings=warnings,
        )  # fmt: skip
        return with_warnings(f"-  replicas: {before}\n+  replicas: {replicas}", warnings)

    async def node_selector(self, reference: str, namespace: str) -> dict[str, str]:
        pod = _template(await self.read(reference, namespace))["spec"]
        return dict(pod.get("nodeSelector") or {})

    @effect("kubernetes.set_node_selector")
    async def set_node_selector(
        self,
        deployment: str,
        namespace: str,
        selector: Mapping[str, str | None],
        owners: Sequence[Mapping[str, Any]] = (),
        cautions: Sequence[Mapping[str, Any]] = (),
        *,
        dry_run: bool = False,
    ) -> str:
        """Change keys of the pods' node selector; None removes a key."""
        patch = {"spec": {"template": {"spec": {"nodeSelector": dict(selector)}}}}
        return await self._patch(deployment, namespace, patch, dry_run)

    async def env(self, reference: str, namespace: str) -> tuple[str, dict[str, str | None]]:
        """Return the main container's name and its variables; None for a value from elsewhere (a secret, a field)."""
        container = main_container(split_reference(reference)[1], await self.read(reference, namespace))
        variables = {variable["name"]: variable for variable in container.get("env") or ()}
        return str(container["name"]), {
            name: None if "valueFrom" in variable else str(variable.get("value", ""))
            for name, variable in variables.items()
        }

    @effect("kubernetes.set_env")
    async def set_env(
        self,
        deployment: str,
        namespace: str,
        container: str,
        variables: Mapping[str, str | None],
        owners: Sequence[Mapping[str, Any]] = (),
        cautions: Sequence[Mapping[str, Any]] = (),
        *,
        dry_run: bool = False,
    ) -> str:
        """Set variables of a container; None removes one."""
        kind, _ = _kind(deployment)
        if kind.group != "apps":  # a custom resource takes no strategic patch
            return await self._set_env_by_merge(deployment, namespace, container, variables, dry_run)
        env = [
            {"name": name, "value": value} if value is not None else {"name": name, "$patch": "delete"}
            for name, value in variables.items()
        ]
        patch = {"spec": {"template": {"spec": {"containers": [{"name": container, "env": env}]}}}}
        return await self._patch(deployment, namespace, patch, dry_run, STRATEGIC)

    async def _set_env_by_merge(
        self, reference: str, namespace: str, container: str, variables: Mapping[str, str | None], dry_run: bool
    ) -> str:
        """Write all containers again; the resource version makes it a conflict if somebody else was faster."""
        workload = await self.read(reference, namespace)
        containers = _template(workload)["spec"]["containers"]
        for one in containers:
            if one["name"] == container:
                kept = [variable for variable in one.get("env") or () if variable["name"] not in variables]
                added = [{"name": name, "value": value} for name, value in variables.items() if value is not None]
                one["env"] = [*kept, *added]
        version = {"resourceVersion": workload["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"template": {"spec": {"containers": containers}}}}
        return await self._patch(reference, namespace, patch, dry_run)

    @effect("kubernetes.restart")
    async def restart(
        self,
        deployment: str,
        namespace: str,
        at: datetime,
        owners: Sequence[Mapping[str, Any]] = (),
        cautions: Sequence[Mapping[str, Any]] = (),
        *,
        dry_run: bool = False,
    ) -> str:
        """Restart the pods as `kubectl rollout restart` does; a second call with the same time has no effect."""
        kind, _ = _kind(deployment)
        if kind.name == "rollout":
            return await self._patch(deployment, namespace, {"spec": {"restartAt": at.isoformat()}}, dry_run)
        patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: at.isoformat()}}}}}
        return await self._patch(deployment, namespace, patch, dry_run)

    async def cautions(self, reference: str, namespace: str) -> list[dict[str, Any]]:
        """Return what somebody should know before the pods are replaced, as `cautions_of`."""
        kind, _ = _kind(reference)
        return cautions_of(kind.name, await self.read(reference, namespace))

    async def rollout(self, reference: str, namespace: str) -> Rollout:
        """Return the progress of the rollout."""
        kind, _ = _kind(reference)
        return rollout_of(kind.name, await self.read(reference, namespace))

    async def obstacles(self, reference: str, namespace: str) -> list[Obstacle]:
        """Return what keeps the pods of the newest revision from running."""
        kind, name = _kind(reference)
        workload = await self.read(reference, namespace)
        found = workload_refused = list(workload_obstacles(name, workload))
        found = [*found, *filter(None, [pause_of(kind.name, workload)])]
        labels = await self._newest_labels(kind, workload, namespace)
        pods = await self._pods(namespace, ",".join([_selector(workload), *labels]))
        found = [*found, *(obstacle for pod in pods for obstacle in pod_obstacles(pod))]
        standing = [pod for pod in pods if (pod.get("status") or {}).get("phase") != "Failed"]  # not those evicted
        if not workload_refused and len(standing) < replicas_of(workload):
            found += await failed_creates(self._cluster, name, namespace)
        return list(dict.fromkeys(found))

    async def wait_until_rolled_out(
        self, reference: str, namespace: str, tell: Tell | None = None, *, paused_too: bool = False
    ) -> Rollout:
        """Wait until the rollout is done; the caller sets the deadline. `tell` hears what it sees when that changes.

        `paused_too`: of a workload that is paused it is enough that all pods are available. Raises WrongState if the
        controller has given up, and if something permanent stands in the way for a while.
        """
        told: tuple[Rollout | None, list[Obstacle]] = (None, [])
        blocked_since: float | None = None
        while True:
            try:
                rollout = await self.rollout(reference, namespace)
                if rollout.done or (paused_too and rollout.paused and rollout.available == rollout.wanted):
                    return rollout
                obstacles = await self.obstacles(reference, namespace)
            except Unavailable as busy:
                await asyncio.sleep(max(POLL_SECONDS, busy.retry_after or 0.0))
                continue
            if paused_too:
                obstacles = [obstacle for obstacle in obstacles if obstacle.reason != "Paused"]
            if tell and (rollout, obstacles) != told:
                told = (rollout, obstacles)
                await tell(rollout, obstacles)
            why = [str(obstacle) for obstacle in obstacles if obstacle.permanent]
            facts = {"deployment": reference, "namespace": namespace}
            if rollout.stuck:
                raise WrongState("rollout_stuck", **facts, why="; ".join([rollout.stuck, *map(str, obstacles[:3])]))
            blocked_since = (blocked_since or time.monotonic()) if why else None
            if blocked_since and time.monotonic() - blocked_since >= PATIENCE_SECONDS:
                counts = {"available": rollout.available, "wanted": rollout.wanted}
                raise WrongState("rollout_blocked", **facts, **counts, why="; ".join(why[:3]))
            await asyncio.sleep(POLL_SECONDS)

    @effect("kubernetes.rollout_undo")
    async def rollout_undo(
        self,
        deployment: str,
        namespace: str,
        to_revision: int,
        owners: Sequence[Mapping[str, Any]] = (),
        cautions: Sequence[Mapping[str, Any]] = (),
        *,
        dry_run: bool = False,
    ) -> str:
        """Restore the pod template of an earlier revision, as `kubectl rollout undo` does."""
        kind, _ = _kind(deployment)
        revisions = await self._revisions(deployment, namespace)
        if to_revision not in revisions:
            known = sorted(revisions)
            raise NotFound("no_such_revision", deployment=deployment, revision=to_revision, known=known)
        earlier = revisions[to_revision]
        if kind.name in ("statefulset", "daemonset"):
            return await self._patch(deployment, namespace, earlier["data"], dry_run, STRATEGIC)
        template = earlier["spec"]["template"]
        labels = (template.get("metadata") or {}).get("labels") or {}
        for hash_label in ("pod-template-hash", "rollouts-pod-template-hash"):
            labels.pop(hash_label, None)
        patch = [{"op": "replace", "path": "/spec/template", "value": template}]
        return await self._patch(deployment, namespace, patch, dry_run, JSON_PATCH)

    async def revisions(self, reference: str, namespace: str) -> list[int]:
        """Return the available revisions, oldest first."""
        return sorted(await self._revisions(reference, namespace))

    async def templates(self, reference: str, namespace: str) -> list[Object]:
        """Return the ReplicaSets or ControllerRevisions that hold the workload's pod templates, oldest first."""
        return [item for _, item in sorted((await self._revisions(reference, namespace)).items())]

    async def versions(self, reference: str, namespace: str) -> list[Version]:
        """Return the images that were rolled out and are still known, oldest first; of a Deployment only."""
        images = []
        for item in (await self._revisions(reference, namespace)).values():
            if (item.get("spec") or {}).get("template", {}).get("spec", {}).get("containers"):
                at = datetime.fromisoformat(str(item["metadata"]["creationTimestamp"]))
                container = main_container(split_reference(reference)[1], item)
                images.append(Version(str(container["image"]), at))
        return sorted(images, key=lambda version: version.at)

    async def revision(self, reference: str, namespace: str) -> int:
        """Return the current revision: of a StatefulSet or DaemonSet the newest one."""
        current = (await self.rollout(reference, namespace)).revision
        return current or max(await self.revisions(reference, namespace), default=0)

    async def _revisions(self, reference: str, namespace: str) -> dict[int, Object]:
        """Return the ReplicaSets or ControllerRevisions of the workload by revision."""
        kind, name = _kind(reference)
        by_controller = kind.name in ("statefulset", "daemonset")
        plural = "controllerrevisions" if by_controller else "replicasets"
        owned = [
            item
            for item in await self._list("apps", "v1", plural, namespace)
            if any(
                (owner["kind"], owner["name"]) == (kind.title, name)
                for owner in item["metadata"].get("ownerReferences") or ()
            )
        ]
        if by_controller:
            return {int(item["revision"]): item for item in owned}
        annotation = ARGO_REVISION if kind.name == "rollout" else REVISION
        numbered = ((item, (item["metadata"].get("annotations") or {}).get(annotation)) for item in owned)
        return {int(number): item for item, number in numbered if number}

    async def _newest_labels(self, kind: Kind, workload: Object, namespace: str) -> list[str]:
        """Return the selector of the newest revision's pods: an old one that crashes is what a rollout replaces."""
        status, metadata = workload.get("status") or {}, workload["metadata"]
        match kind.name:
            case "statefulset":
                return [f"controller-revision-hash={status['updateRevision']}"] if status.get("updateRevision") else []
            case "rollout":
                current = status.get("currentPodHash")
                return [f"rollouts-pod-template-hash={current}"] if current else []
            case "deployment":
                revision = int((metadata.get("annotations") or {}).get(REVISION) or 0)
                newest = (await self._revisions(metadata["name"], namespace)).get(revision)
                labels = newest["metadata"].get("labels") or {} if newest else {}
                found = labels.get("pod-template-hash")
                return [f"pod-template-hash={found}"] if found else []
        return []

    async def _pods(self, namespace: str, selector: str) -> list[Object]:
        core = client.CoreV1Api(self._cluster.api)
        return await self._cluster.list_all(
            f"pods of {namespace}", core.list_namespaced_pod, namespace, label_selector=selector
        )

    async def _list(self, group: str, version: str, plural: str, namespace: str) -> list[Object]:
        return await self._cluster.list_all(
            f"{plural} of {namespace}", self._custom.list_namespaced_custom_object, group, version, namespace, plural
        )

    async def _patch(self, reference: str, namespace: str, patch: Any, dry_run: bool, content_type: str = MERGE) -> str:
        kind, name = _kind(reference)
        warnings: list[str] = []
        before = await self.read(reference, namespace) if dry_run else {}
        after: Object = await self._cluster.ask(
            f"{kind.name} {namespace}/{name}", self._custom.patch_namespaced_custom_object,
            kind.group, kind.version, namespace, kind.plural, name, patch,
            dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER, _content_type=content_type,
            warnings=warnings,
        )  # fmt: skip
        return with_warnings(diff(before, after), warnings) if dry_run else ""


async def failed_creates(cluster: Cluster, name: str, namespace: str) -> list[Obstacle]:
    """Return why the controller of an object could not create pods lately; nothing if the bot may not see events."""
    core, earliest = client.CoreV1Api(cluster.api), datetime.now(UTC) - EVENT_AGE
    try:
        events = await cluster.list_all(
            f"events of {namespace}", core.list_namespaced_event, namespace,
            field_selector=f"involvedObject.name={name},reason=FailedCreate",
        )  # fmt: skip
    except (NotFound, Refused):
        return []
    recent = sorted((event for event in events if seen_at(event) >= earliest), key=seen_at)
    return [event_obstacle(name, event) for event in recent[-1:]]


def _kind(reference: str) -> tuple[Kind, str]:
    kind, name = split_reference(reference)
    return kind or KINDS["deployment"], name


def _selector(workload: Object) -> str:
    """Return a workload's selector as the API takes it: `app=web,tier in (a,b),!canary`."""
    selector = workload["spec"].get("selector") or {}
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        name, operator, values = rule["key"], rule["operator"], ",".join(rule.get("values") or ())
        match operator:
            case "In" | "NotIn":
                parts.append(f"{name} {'in' if operator == 'In' else 'notin'} ({values})")
            case "Exists":
                parts.append(name)
            case "DoesNotExist":
                parts.append(f"!{name}")
    return ",".join(parts)


def _template(workload: Object) -> Object:
    """Return the pods' template. Raises WrongState if the workload, a Rollout, takes it from another one."""
    spec = workload["spec"]
    if not spec.get("template"):
        other = spec.get("workloadRef") or {}
        reference = f"{str(other.get('kind') or '?').lower()}/{other.get('name') or '?'}"
        raise WrongState("template_elsewhere", name=workload["metadata"]["name"], workload=reference)
    template: Object = spec["template"]
    return template


def main_container(name: str, workload: Object) -> Object:
    """Return the container that kubectl would choose, else the one named like the workload, else the first."""
    template = _template(workload)
    containers: list[Object] = template["spec"]["containers"]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    for wanted in (annotations.get("kubectl.kubernetes.io/default-container"), name):
        if chosen := next((container for container in containers if container["name"] == wanted), None):
            return chosen
    return containers[0]


def _owners(workload: Object) -> list[Owner]:
    """Return who else writes the object, by the marks that they leave on it."""
    metadata = workload["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    found: list[Owner] = []
    managers = {str(entry.get("manager")) for entry in metadata.get("managedFields") or ()}
    tracked = str(annotations.get("argocd.argoproj.io/tracking-id") or "").partition(":")[0]
    if argo := labels.get("argocd.argoproj.io/instance") or tracked:
        found.append(Owner("argocd", argo))
    elif managers & ARGOCD:  # which tracks by a label that others use as well
        found.append(Owner("argocd", str(labels.get("app.kubernetes.io/instance") or metadata["name"])))
    for group in (KUSTOMIZE, HELM):
        if (flux := labels.get(f"{group}/name")) and annotations.get(f"{group}/reconcile") != "disabled":
            found.append(Owner("flux", flux, group=group, namespace=labels.get(f"{group}/namespace") or FLUX_NAMESPACE))
    if (release := annotations.get(RELEASE)) and not found:
        found.append(Owner("helm", release))
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            found.append(Owner("operator", f"{owner['kind']}/{owner['name']}"))
    return found


def seen_at(event: Mapping[str, Any]) -> datetime:
    """Return when an event was last seen."""
    series = (event.get("series") or {}).get("lastObservedTime")
    made = event["metadata"].get("creationTimestamp")
    text = event.get("lastTimestamp") or series or event.get("eventTime") or made
    return datetime.fromisoformat(str(text)) if text else datetime.min.replace(tzinfo=UTC)

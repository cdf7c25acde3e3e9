"""Two colours behind one Service: a second Deployment beside a service's own, and the Service that chooses one.

The second one is a copy of the first with another image tag and another value of one of the labels by which the Service
selects: so it gets no traffic until the Service asks for that value, and none of the first one's pods is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.domain.blue_green import Color, Colors
from bot.domain.errors import NotFound, Unavailable, WrongState
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client, diff
from bot.integrations.kubernetes.workloads import Workloads, main_container

SUFFIX = "green"
COMMON_LABEL = "app"  # of the labels by which a Service selects, the one that differs if it is among them
CONFLICT = 409  # HTTP: it exists already
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """A Deployment, the second one's name, the Service before them, and the label and its value that tell them apart.

    `colors` is what runs.
    """

    deployment: str
    second: str
    namespace: str
    service: str
    label: str
    value: str
    colors: Colors

    def value_of(self, color: Color) -> str:
        return self.value if color is Color.FIRST else with_suffix(self.value)


class SecondColors:
    """Second colours of Deployments. Methods raise what the cluster's do."""

    def __init__(self, cluster: Cluster, workloads: Workloads) -> None:
        self._cluster = cluster
        self._workloads = workloads

    async def read(self, deployment: str, namespace: str) -> Pair:
        """Return what stands behind the one Service that selects the Deployment's pods.

        Raises WrongState if no Service does, or several: they would have to be switched at once.
        """
        first = await self._workloads.read(deployment, namespace)
        labels = first["spec"]["template"]["metadata"]["labels"]
        services = await self._cluster.list_all(
            f"services of {namespace}", client.CoreV1Api(self._cluster.api).list_namespaced_service, namespace
        )
        found = [(service, color) for service in services if (color := _selected(service, labels)) is not None]
        if len(found) != 1:
            names = sorted(service["metadata"]["name"] for service, _ in found)
            raise WrongState("not_one_service", deployment=deployment, namespace=namespace, services=names)
        service, live = found[0]
        selector = service["spec"]["selector"]
        own = first["spec"]["selector"].get("matchLabels") or {}
        label = min(selector, key=lambda name: (name not in own, name != COMMON_LABEL, name))
        if live is Color.SECOND:
            label = next(name for name in selector if selector[name] != labels[name])
        name = first["metadata"]["name"]
        second = await self._second(with_suffix(name), namespace)
        return Pair(
            name, with_suffix(name), namespace, service["metadata"]["name"], label, labels[label],
            Colors(_tag(name, first), _tag(name, second) if second else None, live),
        )  # fmt: skip

    @effect("kubernetes.create_second", hidden=("pair",))
    async def create(self, deployment: str, namespace: str, tag: str, pair: Pair, *, dry_run: bool = False) -> str:
        """Create the second Deployment; one that is there with this tag is left as it is.

        Raises WrongState for one with another tag.
        """
        first = await self._workloads.read(pair.deployment, namespace)
        body = _copy(first, pair, tag)
        apps = client.AppsV1Api(self._cluster.api)
        try:
            made = await self._cluster.ask(
                f"deployment {namespace}/{deployment}", apps.create_namespaced_deployment, namespace, body,
                dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER,
            )  # fmt: skip
        except Unavailable as problem:
            if problem.facts.get("status") != CONFLICT:
                raise
            there = await self._second(deployment, namespace)
            if there is not None and _tag(pair.deployment, there) != tag:
                raise WrongState("changed_since", name=deployment) from problem
            return ""
        return diff(first, self._cluster.plain(made)) if dry_run else ""

    @effect("kubernetes.set_tag", hidden=("pair",))
    async def set_tag(self, deployment: str, namespace: str, tag: str, pair: Pair, *, dry_run: bool = False) -> str:
        """Give the first Deployment's main container another image tag."""
        before = await self._workloads.read(deployment, namespace)
        container = main_container(deployment, before)
        image = {"name": container["name"], "image": _with_tag(container["image"], tag)}
        apps = client.AppsV1Api(self._cluster.api)
        after = await self._cluster.ask(
            f"deployment {namespace}/{deployment}", apps.patch_namespaced_deployment, deployment, namespace,
            {"spec": {"template": {"spec": {"containers": [image]}}}},
            dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER,
            _content_type="application/strategic-merge-patch+json",
        )  # fmt: skip
        return diff(before, self._cluster.plain(after)) if dry_run else ""

    @effect("kubernetes.switch_service", hidden=("pair",))
    async def switch(self, service: str, namespace: str, to: str, pair: Pair, *, dry_run: bool = False) -> str:
        """Let the Service select the Deployment whose pods have this value of the label."""
        core = client.CoreV1Api(self._cluster.api)
        what = f"service {namespace}/{service}"
        before = await self._cluster.ask(what, core.read_namespaced_service, service, namespace)
        after = await self._cluster.ask(
            what, core.patch_namespaced_service, service, namespace, {"spec": {"selector": {pair.label: to}}},
            dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER,
            _content_type="application/merge-patch+json",
        )  # fmt: skip
        return diff(self._cluster.plain(before), self._cluster.plain(after)) if dry_run else ""

    @effect("kubernetes.delete_second")
    async def delete(self, deployment: str, namespace: str) -> None:
        """Delete the second Deployment and its pods; it may have gone."""
        apps = client.AppsV1Api(self._cluster.api)
        try:
            await self._cluster.ask(
                f"deployment {namespace}/{deployment}", apps.delete_namespaced_deployment, deployment, namespace
            )
        except NotFound:
            return

    async def _second(self, name: str, namespace: str) -> Object | None:
        try:
            return await self._workloads.read(name, namespace)
        except NotFound:
            return None


def with_suffix(name: str) -> str:
    return f"{name}-{SUFFIX}"


def _selected(service: Object, labels: Mapping[str, str]) -> Color | None:
    """Return which colour of a Deployment with these pod labels a Service selects; None if it is another's."""
    selector = service["spec"].get("selector") or {}
    different = [name for name, value in selector.items() if labels.get(name) != value]
    if not selector or len(different) > 1:
        return None
    if not different:
        return Color.FIRST
    (name,) = different
    return Color.SECOND if name in labels and selector[name] == with_suffix(labels[name]) else None


def _copy(first: Object, pair: Pair, tag: str) -> Object:
    """Return the first Deployment as the second one: without what says who else looks after it."""
    changed = {pair.label: with_suffix(pair.value)}
    spec, template = first["spec"], first["spec"]["template"]
    main = main_container(pair.deployment, first)["name"]
    containers = [
        {**one, "image": _with_tag(one["image"], tag)} if one["name"] == main else one
        for one in template["spec"]["containers"]
    ]
    pods = {**template["metadata"], "labels": {**template["metadata"]["labels"], **changed}}
    selector = {**spec["selector"], "matchLabels": {**(spec["selector"].get("matchLabels") or {}), **changed}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": pair.second, "labels": changed},
        "spec": {
            **spec,
            "selector": selector,
            "template": {**template, "metadata": pods, "spec": {**template["spec"], "containers": containers}},
        },
    }


def _tag(name: str, deployment: Object) -> str:
    image: str = main_container(name, deployment)["image"]
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2] or "latest"


def _with_tag(image: str, tag: str) -> str:
    """Return `registry:5000/name:v2` of `registry:5000/name:v1@sha256:…`."""
    folder, slash, name = image.partition("@")[0].rpartition("/")
    return f"{folder}{slash}{name.partition(':')[0]}:{tag}"

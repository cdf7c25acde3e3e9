"""What the bot needs to be allowed in a cluster, and what of it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bot.domain.errors import NotFound
from bot.integrations.kubernetes.applications import GROUP, VERSION
from bot.integrations.kubernetes.cluster import Cluster, client

REVIEWS_AT_ONCE = 30

Rights = Mapping[tuple[str, str], Sequence[str]]

# By API group and resource, in each namespace of the team's services; deploy/kubernetes/access grants the same.
NAMESPACED: Rights = {
    ("", "pods"): ("get", "list"),
    ("", "pods/log"): ("get",),
    ("", "pods/exec"): ("get", "create"),
    ("", "pods/proxy"): ("get",),
    ("", "events"): ("list",),
    ("", "configmaps"): ("list",),
    ("", "secrets"): ("get", "list", "create", "update", "delete"),
    ("", "services"): ("get", "list", "watch", "create", "patch"),
    ("apps", "deployments"): ("get", "list", "watch", "create", "patch", "delete"),
    ("apps", "statefulsets"): ("get", "list", "patch"),
    ("apps", "daemonsets"): ("get", "list", "patch"),
    ("apps", "deployments/scale"): ("patch",),
    ("apps", "statefulsets/scale"): ("patch",),
    ("apps", "replicasets"): ("list",),
    ("apps", "controllerrevisions"): ("list",),
    ("autoscaling", "horizontalpodautoscalers"): ("get", "list", "create", "update", "patch", "delete"),
    ("batch", "cronjobs"): ("get",),
    ("batch", "jobs"): ("get", "create", "delete"),
    ("external-secrets.io", "externalsecrets"): ("get", "patch"),
    ("metrics.k8s.io", "pods"): ("list",),
    ("networking.k8s.io", "networkpolicies"): ("get", "list", "create", "update", "patch", "delete"),
    ("policy", "poddisruptionbudgets"): ("get", "create", "update", "patch", "delete"),
}
# In the whole cluster, for what the bot does to nodes.
CLUSTER_WIDE: Rights = {
    ("", "nodes"): ("get", "list", "patch"),
    ("", "pods"): ("get", "list"),
    ("", "pods/eviction"): ("create",),
    ("", "events"): ("list",),
    ("metrics.k8s.io", "nodes"): ("list",),
}
# Where the cluster has them: Argo Rollouts beside the other workloads, Argo CD's Applications in its namespace.
ROLLOUTS: Rights = {
    ("argoproj.io", "rollouts"): ("get", "list", "patch"),
    ("argoproj.io", "rollouts/scale"): ("patch",),
}
APPLICATIONS: Rights = {("argoproj.io", "applications"): ("get", "patch")}


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource of an API group; without a namespace in the whole cluster."""

    verb: str
    group: str
    resource: str
    namespace: str | None

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")

    @property
    def optional(self) -> bool:
        """True for what only some services need: those that Argo CD deploys."""
        return (self.group, self.resource) in APPLICATIONS


def needed(namespaces: Sequence[str], argo: Sequence[str] = (), argocd_namespace: str = "argocd") -> list[Right]:
    """Return all rights that the bot's actions need, for services in these namespaces.

    `argo` are the resources of the group `argoproj.io` that the cluster has.
    """
    namespaced = {**NAMESPACED, **(ROLLOUTS if "rollouts" in argo else {})}
    places: list[tuple[str | None, Rights]] = [(namespace, namespaced) for namespace in namespaces]
    places.append((None, CLUSTER_WIDE))
    if "applications" in argo:
        places.append((argocd_namespace, APPLICATIONS))
    return [
        Right(verb, group, resource, namespace)
        for namespace, rights in places
        for (group, resource), verbs in rights.items()
        for verb in verbs
    ]


async def argo_resources(cluster: Cluster) -> list[str]:
    """Return the names of the resources of Argo CD and Argo Rollouts that the cluster has."""
    with suppress(NotFound):
        found = await cluster.ask(
            "resources of Argo", client.CustomObjectsApi(cluster.api).get_api_resources, GROUP, VERSION
        )
        return [resource.name for resource in found.resources]
    return []


async def missing(cluster: Cluster, rights: Sequence[Right]) -> list[Right]:
    """Return those of the rights that the bot does not have, by SelfSubjectAccessReview; nothing is changed."""
    free = asyncio.Semaphore(REVIEWS_AT_ONCE)

    async def is_missing(right: Right) -> bool:
        resource, _, subresource = right.resource.partition("/")
        attributes = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource}
        attributes |= {"namespace": right.namespace} if right.namespace else {}
        reviews = client.AuthorizationV1Api(cluster.api)
        async with free:
            review = await cluster.ask(
                f"access review of {right}",
                reviews.create_self_subject_access_review,
                {"spec": {"resourceAttributes": attributes}},
            )
        return not review.status.allowed

    found = await asyncio.gather(*(is_missing(right) for right in rights))
    return [right for right, is_absent in zip(rights, found, strict=True) if is_absent]

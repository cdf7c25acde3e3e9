"""What the bot needs to be allowed in a cluster, and what of it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource of an API group; without a namespace in the whole cluster."""

    verb: str
    group: str
    resource: str
    namespace: str | None

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


def needed(namespaces: Sequence[str]) -> list[Right]:
    """Return all rights that the bot's actions need, for services in these namespaces."""
    places = [(namespace, NAMESPACED) for namespace in namespaces] + [(None, CLUSTER_WIDE)]
    return [
        Right(verb, group, resource, namespace)
        for namespace, rights in places
        for (group, resource), verbs in rights.items()
        for verb in verbs
    ]


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

"""What the bot needs to be allowed in a cluster, and what of it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from bot.domain.runbook import Runbook
from bot.integrations.kubernetes.applications import GROUP
from bot.integrations.kubernetes.cluster import Cluster, client
from bot.integrations.kubernetes.flux import GIT_REPOSITORY, HELM_RELEASE, KUSTOMIZATION
from bot.integrations.kubernetes.flux import NAMESPACE as FLUX_NAMESPACE
from bot.team import TeamFile

REVIEWS_AT_ONCE = 30

Rights = Mapping[tuple[str, str], Sequence[str]]
ROLLOUTS = ("argoproj.io", "rollouts")  # of Argo, where the cluster has them
LITMUS = "litmuschaos.io"  # where the team's file has a section `chaos`

# By API group and resource, in each namespace of the team's services; deploy/kubernetes/access grants all of it.
# What is read whatever the runbooks do: looks, snapshots, `/why`, who else decides over a workload.
READ: Rights = {
    ("", "pods"): ("get", "list"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list",),
    ("", "configmaps"): ("list",),
    ("", "services"): ("get", "list"),
    ("", "resourcequotas"): ("list",),
    ("apps", "deployments"): ("get", "list"),
    ("apps", "statefulsets"): ("get", "list"),
    ("apps", "daemonsets"): ("get", "list"),
    ("apps", "replicasets"): ("list",),
    ("apps", "controllerrevisions"): ("list",),
    ROLLOUTS: ("get", "list"),
    ("autoscaling", "horizontalpodautoscalers"): ("get", "list"),
    ("batch", "cronjobs"): ("get",),
    ("batch", "jobs"): ("get",),
    ("external-secrets.io", "externalsecrets"): ("get",),
    ("metrics.k8s.io", "pods"): ("list",),
    ("networking.k8s.io", "networkpolicies"): ("get", "list"),
    ("policy", "poddisruptionbudgets"): ("get",),
}
_JOBS: Rights = {("batch", "jobs"): ("create", "delete")}
_EXEC: Rights = {("", "pods/exec"): ("get", "create")}
_SCALE: Rights = {
    ("apps", "deployments/scale"): ("patch",),
    ("apps", "statefulsets/scale"): ("patch",),
    ("argoproj.io", "rollouts/scale"): ("patch",),
}
_CHANGE: Rights = {
    ("apps", "deployments"): ("patch",),
    ("apps", "statefulsets"): ("patch",),
    ("apps", "daemonsets"): ("patch",),
    ROLLOUTS: ("patch",),
}
_APPLIED = (
    ("autoscaling", "horizontalpodautoscalers"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
)
_MANIFESTS: Rights = dict.fromkeys(_APPLIED, ("create", "update", "patch", "delete"))
_RELEASE: Rights = {  # Helm keeps its revisions in Secrets
    ("", "secrets"): ("get", "list", "create", "update", "delete"),
    ("", "services"): ("watch", "create", "patch"),
    ("apps", "deployments"): ("watch", "create", "patch", "delete"),
}
# What each action needs beyond that, with its undo; what is not named here only reads.
CHANGES: Mapping[str, Rights] = {
    "kubernetes.exec": _EXEC,
    "kubernetes.exec_dump": _EXEC,
    "kubernetes.curl": {("", "pods/proxy"): ("get",)},
    "kubernetes.scale": _SCALE,
    "kubernetes.shut_down": _SCALE,
    "kubernetes.set_env": _CHANGE,
    "kubernetes.set_node_selector": _CHANGE,
    "kubernetes.restart": _CHANGE,
    "kubernetes.rollout_undo": _CHANGE,
    "kubernetes.run_job": _JOBS,
    "kubernetes.run_batches": _JOBS,
    "kubernetes.apply": _MANIFESTS,
    "kubernetes.delete": _MANIFESTS,
    "kubernetes.refresh_external_secret": {("external-secrets.io", "externalsecrets"): ("patch",)},
    "litmus.run": {
        (LITMUS, "chaosengines"): ("get", "create", "patch"),
        (LITMUS, "chaosexperiments"): ("list",),
        (LITMUS, "chaosresults"): ("get",),
        ("", "serviceaccounts"): ("get",),
    },
    "helm.status": {("", "secrets"): ("get", "list")},
    "helm.history": {("", "secrets"): ("get", "list")},
    **dict.fromkeys(("helm.upgrade", "helm.canary", "helm.promote", "helm.rollback"), _RELEASE),
    **dict.fromkeys(("bluegreen.start", "bluegreen.switch", "bluegreen.finish"), _RELEASE),
    "bluegreen.check": {("", "secrets"): ("get", "list")},
}
# In the whole cluster, for what the bot does to nodes.
CLUSTER_WIDE: Rights = {
    ("", "nodes"): ("get", "list", "patch"),
    ("", "pods"): ("get", "list"),
    ("", "pods/eviction"): ("create",),
    ("", "events"): ("list",),
    ("metrics.k8s.io", "nodes"): ("list",),
}
_NODES = ("kubernetes.cordon", "kubernetes.drain", "kubernetes.uncordon")  # the actions that need it
# In the namespace of Argo CD's Applications, where the cluster has them.
APPLICATIONS: Rights = {("argoproj.io", "applications"): ("get", "patch")}
# Of Flux, where the cluster has it, in its namespace; deploy/kubernetes/access/flux.yaml grants it.
FLUX: Rights = {(group, plural): ("get",) for group, _, plural in (KUSTOMIZATION, HELM_RELEASE, GIT_REPOSITORY)}


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
        """True for what only some services need: those that Argo CD or Flux deploys."""
        return (self.group, self.resource) in (*APPLICATIONS, *FLUX)


def needed_by(actions: Collection[str]) -> dict[tuple[str, str], list[str]]:
    """Return the rights in a namespace for these actions, and for what is always read."""
    both: dict[tuple[str, str], list[str]] = {}
    for rights in (READ, *(CHANGES[action] for action in sorted(actions) if action in CHANGES)):
        for resource, verbs in rights.items():
            both[resource] = list(dict.fromkeys((*both.get(resource, ()), *verbs)))
    return both


def rules_for(actions: Collection[str]) -> list[dict[str, list[str]]]:
    """Return the rules of a Role for these actions; resources of one group with the same verbs share one."""
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), verbs in needed_by(actions).items():
        together.setdefault((group, tuple(verbs)), []).append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
        for (group, verbs), resources in together.items()
    ]


@dataclass(frozen=True, slots=True)
class Use:
    """The actions of a team's runbooks, by the namespaces in which they may act; and whether any is about nodes."""

    by_namespace: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, team: TeamFile, runbooks: Iterable[Runbook], also: Iterable[str] = ()) -> Self:
        """Return what these runbooks use, and the actions of `also` everywhere."""
        steps = [(step.environment or runbook.environment, step.uses) for runbook in runbooks for step in runbook.steps]
        steps += [(None, action) for action in also]
        places = {place for service in team.services.values() for place in service.namespaces.items()}
        return cls(
            {
                namespace: frozenset(
                    action for environment, action in steps if environment is None or (environment, namespace) in places
                )
                for _, namespace in sorted(places)
            }
        )

    @property
    def nodes(self) -> bool:
        return any(action in _NODES for actions in self.by_namespace.values() for action in actions)

    @property
    def argocd(self) -> bool:
        return any(action.startswith("argocd.") for actions in self.by_namespace.values() for action in actions)

    def needs(self, right: Right) -> bool:
        """Return True if a runbook needs it, or what is always read; else only `/ops` does."""
        if right.namespace is None:
            return self.nodes
        if right.namespace not in self.by_namespace or right.group == GROUP:
            return True
        return right.verb in needed_by(self.by_namespace[right.namespace]).get((right.group, right.resource), ())


def needed(
    namespaces: Sequence[str],
    argo: Sequence[str] = (),
    argocd_namespace: str = "argocd",
    chaos: Collection[str] = (),
    *,
    flux: bool = False,
) -> list[Right]:
    """Return all rights that the bot's actions need, for services in these namespaces.

    `argo` are the resources of the group `argoproj.io` that the cluster has, `chaos` the namespaces of experiments,
    `flux` says whether the cluster has Flux.
    """
    everything = needed_by(CHANGES)
    namespaced = {
        (group, resource): verbs
        for (group, resource), verbs in everything.items()
        if group != GROUP or resource.partition("/")[0] in argo
    }
    places: list[tuple[str | None, Rights]] = [(namespace, namespaced) for namespace in namespaces]
    places.append((None, CLUSTER_WIDE))
    if "applications" in argo:
        places.append((argocd_namespace, APPLICATIONS))
    if flux:
        places.append((FLUX_NAMESPACE, FLUX))
    return [
        Right(verb, group, resource, namespace)
        for namespace, rights in places
        for (group, resource), verbs in rights.items()
        for verb in verbs
        if group != LITMUS or namespace in chaos
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

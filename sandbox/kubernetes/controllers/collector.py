"""The garbage collector: what nobody owns any more goes, and what stands in a namespace that goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.deletion import delete
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import name_of, uid_of
from sandbox.kubernetes.resources.main import NAMESPACE
from sandbox.kubernetes.store import Change, Key


class Collector:
    """Its keys are ("", uid of what was deleted) and (name of the namespace, "")."""

    def __init__(self, cluster: Cluster, kinds: Mapping[tuple[str, str, str], Kind]) -> None:
        self._cluster = cluster
        self._kinds = kinds

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if change.type == "DELETED":
            yield "", uid_of(change.object)
            if kind is NAMESPACE:
                yield name_of(change.object), ""

    def reconcile(self, namespace: str, name: str) -> None:
        for kind in [one for one in self._kinds.values() if one.namespaced and "delete" in one.verbs]:
            for obj in self._cluster.store.all(kind, namespace):
                owners = [one["uid"] for one in obj["metadata"].get("ownerReferences") or ()]
                if namespace or name in owners:
                    delete(self._cluster.writer, kind, obj, grace=0 if namespace else None)

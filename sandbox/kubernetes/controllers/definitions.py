"""CustomResourceDefinitions: a kind that is defined is served from then on."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, name_of, timestamp
from sandbox.kubernetes.resources.others import DEFINITION
from sandbox.kubernetes.store import Change, Key


class Definitions:
    """`kinds` are those that the API serves, by group, version and plural."""

    def __init__(self, cluster: Cluster, kinds: MutableMapping[tuple[str, str, str], Kind]) -> None:
        self._cluster = cluster
        self._kinds = kinds

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DEFINITION:
            yield "", name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        definition = self._cluster.store.get(DEFINITION, "", name)
        if definition is None:
            plural, _, group = name.partition(".")
            for key, kind in list(self._kinds.items()):
                if (kind.group, kind.plural, kind.custom) == (group, plural, True):
                    del self._kinds[key]
            return
        for version in definition["spec"]["versions"]:
            key = (definition["spec"]["group"], version["name"], definition["spec"]["names"]["plural"])
            if version.get("served") and key not in self._kinds:
                self._kinds[key] = kind_of(definition["spec"], version)
        self._cluster.writer.set_status(DEFINITION, definition, self._status(definition))

    def _status(self, definition: Object) -> Object:
        if definition.get("status", {}).get("conditions"):
            status: Object = definition["status"]
            return status
        now = timestamp(self._cluster.now())
        conditions = [
            {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now}
            for kind, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
        ]
        stored = [version["name"] for version in definition["spec"]["versions"] if version.get("storage")]
        return {"conditions": conditions, "acceptedNames": definition["spec"]["names"], "storedVersions": stored}


def kind_of(spec: Object, version: Object) -> Kind:
    names = spec["names"]
    return Kind(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        tuple(names.get("shortNames") or ()),
        namespaced=spec["scope"] == "Namespaced",
        subresources=tuple(name for name in ("scale", "status") if name in (version.get("subresources") or {})),
        categories=tuple(names.get("categories") or ()),
        custom=True,
    )

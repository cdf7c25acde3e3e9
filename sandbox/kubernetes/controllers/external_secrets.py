"""External Secrets: what stands in Vault, copied into a Secret when it is due or when somebody asks for it.

https://external-secrets.io/latest/api/externalsecret/
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    annotations_of,
    copied,
    labels_of,
    moment,
    name_of,
    namespace_of,
    owned_by,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources.main import SECRET
from sandbox.kubernetes.resources.others import EXTERNAL_SECRET
from sandbox.kubernetes.store import Change, Key
from sandbox.kubernetes.writes import suffix

TIME = 5.0  # s that a synchronisation takes

Read = Callable[[str], Mapping[str, str] | None]


class ExternalSecrets:
    """`read` gives the keys and values of a path of the secret store, None when there is no such path."""

    def __init__(self, cluster: Cluster, read: Read) -> None:
        self._cluster = cluster
        self._read = read
        self._begun: dict[Key, tuple[str, str]] = {}  # the version that is being synced, and since when

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is EXTERNAL_SECRET:
            yield namespace_of(change.object), name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        external = self._cluster.store.get(EXTERNAL_SECRET, namespace, name)
        key, now = (namespace, name), self._cluster.now()
        if external is None:
            return
        synced = status_of(external).get("syncedResourceVersion")
        if synced is None:
            self._sync(external)
            return
        if synced == version(external):
            self._begun.pop(key, None)
            self._refresh(external)
            return
        wanted, since = self._begun.get(key, ("", ""))
        if wanted != version(external):
            self._begun[key] = (version(external), now.isoformat())
            self._cluster.look_again(self, key, TIME)
            return
        left = TIME - (now - now.fromisoformat(since)).total_seconds()
        if left > 1e-3:
            self._cluster.look_again(self, key, left)
        else:
            self._begun.pop(key)
            self._sync(external)

    def _refresh(self, external: Object) -> None:
        """Read again what was read `refreshInterval` ago."""
        interval = seconds(external["spec"].get("refreshInterval", "1h"))
        last = status_of(external).get("refreshTime")
        if not interval or last is None:
            return
        left = interval - (self._cluster.now() - moment(last)).total_seconds()
        if left > 0:
            self._cluster.look_again(self, (namespace_of(external), name_of(external)), left)
        else:
            self._sync(external)

    def _sync(self, external: Object) -> None:
        try:
            data = self._values(external)
        except KeyError as missing:
            self._show(external, False, "SecretSyncedError", f"could not get secret data from provider: {missing}")
            return
        self._put(external, data)
        self._show(external, True, "SecretSynced", "secret synced")

    def _values(self, external: Object) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in external["spec"].get("data") or ():
            remote = one["remoteRef"]
            stored = self._read(remote["key"])
            if stored is None or remote.get("property") not in stored:
                raise KeyError(f"{remote['key']} {remote.get('property', '')}".strip())
            found[one["secretKey"]] = stored[remote["property"]]
        for one in external["spec"].get("dataFrom") or ():
            path = one["extract"]["key"]
            stored = self._read(path)
            if stored is None:
                raise KeyError(path)
            found |= stored
        return {key: base64.b64encode(value.encode()).decode() for key, value in sorted(found.items())}

    def _put(self, external: Object, data: dict[str, str]) -> None:
        name = (external["spec"].get("target") or {}).get("name") or name_of(external)
        before = self._cluster.store.get(SECRET, namespace_of(external), name)
        if before is None:
            metadata = {"name": name, "namespace": namespace_of(external), "ownerReferences": [owned_by(external)]}
            self._cluster.writer.create(SECRET, {"metadata": metadata, "data": data})
        elif before.get("data") != data:
            self._cluster.store.put(SECRET, {**copied(before), "data": data})

    def _show(self, external: Object, ready: bool, reason: str, message: str) -> None:
        now = timestamp(self._cluster.now())
        condition = {
            "type": "Ready",
            "status": str(ready),
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
        }
        status = {**status_of(external), "conditions": [condition], "syncedResourceVersion": version(external)}
        if ready:
            status |= {"refreshTime": now, "binding": {"name": name_of(external)}}
        told = "Updated" if ready else "UpdateFailed"
        self._cluster.event(external, told, message, source="external-secrets", warning=not ready)
        self._cluster.writer.set_status(EXTERNAL_SECRET, external, status)


def seconds(text: str) -> float:
    """A Go duration, `1h30m`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def version(external: Object) -> str:
    """What a synchronisation stands for: the generation, and a digest of labels and annotations."""
    marked = json.dumps([dict(labels_of(external)), dict(annotations_of(external))], sort_keys=True)
    return f"{external['metadata'].get('generation', 1)}-{suffix(marked, 16)}"

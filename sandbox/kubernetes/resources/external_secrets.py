"""External Secrets: values of a secret store, copied into a Secret when it is due or when somebody asks for it.

https://external-secrets.io/latest/api/externalsecret/
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import Kind, computed_column, path_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    annotations_of,
    condition,
    deep_copy,
    key_of,
    labels_of,
    name_of,
    name_suffix,
    namespace_of,
    owner_reference,
    parse_time,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources.basic import SECRET
from sandbox.kubernetes.state import Change

SYNC_SECONDS = 5.0  # that a synchronization takes
DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}

ReadSecret: TypeAlias = Callable[[str], Mapping[str, str] | None]

EXTERNAL_SECRET = Kind(
    "external-secrets.io",
    "v1",
    "externalsecrets",
    "ExternalSecret",
    ("es",),
    subresources=("status",),
    categories=("external-secrets",),
    columns=(
        path_column("StoreType", "spec.secretStoreRef.kind"),
        path_column("Store", "spec.secretStoreRef.name"),
        path_column("Refresh Interval", "spec.refreshInterval"),
        computed_column("Status", lambda external: str((condition(external, "Ready") or {}).get("reason", ""))),
        computed_column("Ready", lambda external: (condition(external, "Ready") or {}).get("status", "")),
    ),
    custom=True,
)

KINDS = (EXTERNAL_SECRET,)


class ExternalSecrets:
    """`read` returns the keys and values at a path of the secret store, None if there is no such path."""

    def __init__(self, cluster: Cluster, read: ReadSecret) -> None:
        self._cluster = cluster
        self._read = read
        self._syncing: dict[Key, tuple[str, datetime]] = {}  # the version that is being synced, and since when

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is EXTERNAL_SECRET:
            yield key_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        external = self._cluster.store.get(EXTERNAL_SECRET, namespace, name)
        if external is None:
            return
        key, now, version = key_of(external), self._cluster.now(), _version(external)
        synced = status_of(external).get("syncedResourceVersion")
        if synced is None:
            self._sync(external)
        elif synced == version:
            self._syncing.pop(key, None)
            self._refresh(external)
        elif key not in self._syncing or self._syncing[key][0] != version:
            self._syncing[key] = (version, now)
            self._cluster.enqueue(self, key, SYNC_SECONDS)
        elif (left := SYNC_SECONDS - (now - self._syncing[key][1]).total_seconds()) > 1e-3:
            self._cluster.enqueue(self, key, left)
        else:
            self._syncing.pop(key)
            self._sync(external)

    def _refresh(self, external: Object) -> None:
        """Sync again what was synced `refreshInterval` ago."""
        interval = _parse_duration(external["spec"].get("refreshInterval", "1h"))
        last = status_of(external).get("refreshTime")
        if not interval or last is None:
            return
        left = interval - (self._cluster.now() - parse_time(last)).total_seconds()
        if left > 0:
            self._cluster.enqueue(self, key_of(external), left)
        else:
            self._sync(external)

    def _sync(self, external: Object) -> None:
        try:
            data = self._read_values(external)
        except KeyError as error:
            message = f"could not get secret data from provider: {error}"
            self._set_status(external, False, "SecretSyncedError", message)
            return
        self._write_secret(external, data)
        self._set_status(external, True, "SecretSynced", "secret synced")

    def _read_values(self, external: Object) -> dict[str, str]:
        """Return the data of the Secret, in base64. Raises KeyError with the path and property that are missing."""
        values: dict[str, str] = {}
        for entry in external["spec"].get("data") or ():
            remote = entry["remoteRef"]
            stored = self._read(remote["key"])
            if stored is None or remote.get("property") not in stored:
                raise KeyError(f"{remote['key']} {remote.get('property', '')}".strip())
            values[entry["secretKey"]] = stored[remote["property"]]
        for entry in external["spec"].get("dataFrom") or ():
            path = entry["extract"]["key"]
            stored = self._read(path)
            if stored is None:
                raise KeyError(path)
            values |= stored
        return {key: base64.b64encode(value.encode()).decode() for key, value in sorted(values.items())}

    def _write_secret(self, external: Object, data: dict[str, str]) -> None:
        name = (external["spec"].get("target") or {}).get("name") or name_of(external)
        before = self._cluster.store.get(SECRET, namespace_of(external), name)
        if before is None:
            metadata = {
                "name": name,
                "namespace": namespace_of(external),
                "ownerReferences": [owner_reference(external)],
            }
            self._cluster.writer.create(SECRET, {"metadata": metadata, "data": data})
        elif before.get("data") != data:
            self._cluster.store.put(SECRET, {**deep_copy(before), "data": data})

    def _set_status(self, external: Object, ready: bool, reason: str, message: str) -> None:
        now = timestamp(self._cluster.now())
        condition = {
            "type": "Ready",
            "status": str(ready),
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
        }
        status = {**status_of(external), "conditions": [condition], "syncedResourceVersion": _version(external)}
        if ready:
            status |= {"refreshTime": now, "binding": {"name": name_of(external)}}
        event = "Updated" if ready else "UpdateFailed"
        self._cluster.record_event(external, event, message, source="external-secrets", warning=not ready)
        self._cluster.writer.set_status(EXTERNAL_SECRET, external, status)


def _parse_duration(text: str) -> float:
    """Parse a Go duration, `1h30m`, to seconds."""
    return sum(float(number) * DURATION_UNITS[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def _version(external: Object) -> str:
    """Return what a synchronization is of: the generation, and a digest of labels and annotations."""
    metadata = json.dumps([dict(labels_of(external)), dict(annotations_of(external))], sort_keys=True)
    return f"{external['metadata'].get('generation', 1)}-{name_suffix(metadata, 16)}"

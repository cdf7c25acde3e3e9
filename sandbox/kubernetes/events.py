"""Events: what the cluster tells about its objects. One that comes again is counted, not kept twice."""

from __future__ import annotations

from sandbox.kubernetes.objects import Object, copied, name_of, namespace_of, timestamp, uid_of
from sandbox.kubernetes.resources.main import EVENT
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.writes import Writer, suffix


class Events:
    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def tell(self, about: Object, reason: str, message: str, *, source: str, warning: bool = False) -> None:
        namespace = namespace_of(about) or "default"
        name = f"{name_of(about)}.{suffix(f'{uid_of(about)}/{reason}/{message}', 16)}"
        now = timestamp(self._writer.now())
        before = self._store.get(EVENT, namespace, name)
        if before is not None:
            again = copied(before)
            again |= {"count": before["count"] + 1, "lastTimestamp": now}
            self._store.put(EVENT, again)
            return
        involved = {
            "kind": about["kind"],
            "namespace": namespace_of(about),
            "name": name_of(about),
            "uid": uid_of(about),
            "apiVersion": about["apiVersion"],
            "resourceVersion": about["metadata"].get("resourceVersion", ""),
        }
        event = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": source},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "eventTime": None,
            "reportingComponent": source,
            "reportingInstance": "",
        }
        self._writer.create(EVENT, event)

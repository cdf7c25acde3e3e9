"""The objects of the cluster with their versions, and what has changed: what etcd and the watch cache are to the API.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, copied, name_of, namespace_of
from sandbox.kubernetes.problems import gone

REMEMBERED = 2000  # changes of one kind that a watch may begin at

Key = tuple[str, str]  # namespace, name


@dataclass(frozen=True)
class Change:
    """One object as it became (or last was, when it is DELETED), and as it was before."""

    version: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object
    before: Object | None = None


class Store:
    """Objects by kind, namespace and name. What it gives belongs to the store: copy it before you change it."""

    def __init__(self) -> None:
        self.version = 1000
        self.listeners: list[Callable[[Kind, Change], None]] = []
        self.computed: dict[Kind, Callable[[], list[Object]]] = {}  # kinds whose objects are made when asked for
        self._objects: dict[Kind, dict[Key, Object]] = {}
        self._changes: dict[Kind, deque[Change]] = {}
        self._forgotten: dict[Kind, int] = {}
        self._watching: set[Watching] = set()

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        if kind in self.computed:
            return next((one for one in self.all(kind, namespace) if name_of(one) == name), None)
        return self._objects.get(kind, {}).get((namespace if kind.namespaced else "", name))

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        """The objects of a kind by namespace and name, in one namespace or in all."""
        if kind in self.computed:
            return [one for one in self.computed[kind]() if namespace in ("", namespace_of(one))]
        found = self._objects.get(kind, {})
        return [found[key] for key in sorted(found) if namespace in ("", key[0])]

    def put(self, kind: Kind, obj: Object) -> Object:
        """Keep a new object, or a new state of one; gives it with its version."""
        key = (namespace_of(obj), name_of(obj))
        before = self._objects.setdefault(kind, {}).get(key)
        kept = copied(obj)
        self.version += 1
        kept["metadata"]["resourceVersion"] = str(self.version)
        self._objects[kind][key] = kept
        self._tell(kind, Change(self.version, "ADDED" if before is None else "MODIFIED", kept, before))
        return kept

    def remove(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Forget an object; None when there was none."""
        before = self._objects.get(kind, {}).pop((namespace, name), None)
        if before is None:
            return None
        self.version += 1
        last = copied(before)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, Change(self.version, "DELETED", last, before))
        return last

    def since(self, kind: Kind, version: int) -> list[Change]:
        """What has changed after `version`. Problem 410 when that is too long ago."""
        oldest = self._forgotten.get(kind, 0)
        if version < oldest:
            raise gone(version, oldest)
        return [change for change in self._changes.get(kind, ()) if change.version > version]

    def forget(self) -> None:
        """Compact: no watch can begin at a version before now."""
        self.version += 1
        for kind in self._objects:
            self._changes.pop(kind, None)
            self._forgotten[kind] = self.version

    def watch(self, kind: Kind) -> Watching:
        """A waiter for changes of the kind, on the running loop; close it."""
        watching = Watching(kind, self._watching)
        self._watching.add(watching)
        return watching

    def _tell(self, kind: Kind, change: Change) -> None:
        changes = self._changes.setdefault(kind, deque())
        changes.append(change)
        if len(changes) > REMEMBERED:
            self._forgotten[kind] = changes.popleft().version
        for listener in self.listeners:
            listener(kind, change)
        for watching in tuple(self._watching):
            watching.told(kind)


class Watching:
    """Wakes the one who waits, from whatever thread the change comes."""

    def __init__(self, kind: Kind, among: set[Watching]) -> None:
        self._kind = kind
        self._among = among
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def told(self, kind: Kind) -> None:
        if kind is self._kind and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self) -> None:
        """Until something has changed since the last time."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        self._among.discard(self)

"""What the API server remembers: the objects with their versions, what changed, and how a write changes an object.

`Store` is what etcd and the watch cache are to the real API server, `Writer` what its registry does with each object on
the way there. https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sandbox.kubernetes.errors import already_exists, conflict, expired, invalid, not_found
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.managed_fields import track_update
from sandbox.kubernetes.objects import (
    Key,
    Object,
    deep_copy,
    is_terminating,
    key_of,
    name_of,
    name_suffix,
    namespace_of,
    timestamp,
    uid_of,
)
from sandbox.kubernetes.schemas import validate

MAX_CHANGES = 2000  # of a kind that are remembered for watches
PRESERVED_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
    "name",
)


@dataclass(frozen=True)
class Change:
    """One object as it became (or last was, when it is DELETED), and as it was before."""

    version: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object
    before: Object | None = None


class Store:
    """Objects by kind, namespace and name. What it returns belongs to the store: copy it before you change it.

    `listeners` are called with every change. Objects of the kinds in `computed` are not stored but made on demand.
    """

    def __init__(self) -> None:
        self.version = 1000
        self.listeners: list[Callable[[Kind, Change], None]] = []
        self.computed: dict[Kind, Callable[[], list[Object]]] = {}
        self._objects: dict[Kind, dict[Key, Object]] = {}
        self._changes: dict[Kind, deque[Change]] = {}
        self._compacted: dict[Kind, int] = {}
        self._watchers: set[Watcher] = set()

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        if kind in self.computed:
            return next((obj for obj in self.all(kind, namespace) if name_of(obj) == name), None)
        return self._objects.get(kind, {}).get((namespace if kind.namespaced else "", name))

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        """Return the objects of a kind sorted by namespace and name, of one namespace or of all."""
        if kind in self.computed:
            return [obj for obj in self.computed[kind]() if namespace in ("", namespace_of(obj))]
        objects = self._objects.get(kind, {})
        return [objects[key] for key in sorted(objects) if namespace in ("", key[0])]

    def put(self, kind: Kind, obj: Object) -> Object:
        """Store a new object, or a new state of one, and return it with its version."""
        key = key_of(obj)
        before = self._objects.setdefault(kind, {}).get(key)
        stored = deep_copy(obj)
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        self._objects[kind][key] = stored
        self._notify(kind, Change(self.version, "ADDED" if before is None else "MODIFIED", stored, before))
        return stored

    def remove(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Remove an object and return its last state; None if there was none."""
        before = self._objects.get(kind, {}).pop((namespace, name), None)
        if before is None:
            return None
        self.version += 1
        last = deep_copy(before)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._notify(kind, Change(self.version, "DELETED", last, before))
        return last

    def changes_since(self, kind: Kind, version: int) -> list[Change]:
        """Return the changes after `version`. Raises StatusError 410 when these are not remembered any more."""
        oldest = self._compacted.get(kind, 0)
        if version < oldest:
            raise expired(version, oldest)
        return [change for change in self._changes.get(kind, ()) if change.version > version]

    def compact(self) -> None:
        """Forget all changes: from now on no watch can start at an earlier version."""
        self.version += 1
        for kind in self._objects:
            self._changes.pop(kind, None)
            self._compacted[kind] = self.version

    def watch(self, kind: Kind) -> Watcher:
        """Return a watcher of the kind's changes, for the running event loop. Close it after use."""
        watcher = Watcher(kind, self._watchers)
        self._watchers.add(watcher)
        return watcher

    def _notify(self, kind: Kind, change: Change) -> None:
        changes = self._changes.setdefault(kind, deque())
        changes.append(change)
        if len(changes) > MAX_CHANGES:
            self._compacted[kind] = changes.popleft().version
        for listener in self.listeners:
            listener(kind, change)
        for watcher in tuple(self._watchers):
            watcher.notify(kind)


class Watcher:
    """Wakes a task that waits for changes of a kind, whichever thread these come from."""

    def __init__(self, kind: Kind, watchers: set[Watcher]) -> None:
        self._kind = kind
        self._watchers = watchers
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def notify(self, kind: Kind) -> None:
        if kind is self._kind and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self) -> None:
        """Wait until something has changed since the last call."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        self._watchers.discard(self)


@dataclass(frozen=True)
class WriteOptions:
    """Options of a write.

    `dry_run`: nothing is stored. `field_manager` becomes the owner of the changed fields in `managedFields`, unless it
    is ""; `force` takes fields from other owners in server-side apply. `is_applied`: the object has its `managedFields`
    already. `from_client`: the object comes from a request and has to be validated.
    """

    dry_run: bool = False
    field_manager: str = ""
    force: bool = False
    subresource: str = ""
    is_applied: bool = False
    from_client: bool = False


class Writer:
    """Creates, replaces and deletes objects as the API server does, for requests and for controllers alike."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self.store = store
        self.now = now

    def create(self, kind: Kind, obj: Object, options: WriteOptions = WriteOptions()) -> Object:
        """Create an object. Raises StatusError 409 if it exists."""
        new = deep_copy(obj)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise invalid(kind, "", [("metadata.name", "Required value: name or generateName is required")])
            metadata["name"] = metadata["generateName"] + name_suffix(str(self.store.version), 5)
        if self.store.get(kind, *key_of(new)) is not None:
            raise already_exists(kind, name_of(new))
        new["apiVersion"], new["kind"] = kind.api_version, kind.name
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamp(self.now())
        metadata.pop("resourceVersion", None)
        metadata.pop("deletionTimestamp", None)
        if kind.has_generation:
            metadata["generation"] = 1
        kind.default(new)
        if options.from_client:
            validate(kind, new)
        new = self._with_owner(kind, None, new, options)
        return new if options.dry_run else self.store.put(kind, new)

    def replace(self, kind: Kind, before: Object, obj: Object, options: WriteOptions = WriteOptions()) -> Object:
        """Replace `before` by `obj`. Raises StatusError 409 if `obj` was made from another version.

        An object that does not change is not written and gets no new version.
        """
        new = deep_copy(obj)
        metadata, metadata_before = new.setdefault("metadata", {}), before["metadata"]
        if metadata.get("resourceVersion") not in (None, "", metadata_before["resourceVersion"]):
            raise conflict(kind, name_of(before))
        if metadata.get("uid") not in (None, "", metadata_before["uid"]):
            raise conflict(
                kind,
                name_of(before),
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {metadata_before['uid']}",
            )
        for field in PRESERVED_METADATA:
            metadata.pop(field, None)
            if field in metadata_before:
                metadata[field] = metadata_before[field]
        metadata["resourceVersion"] = metadata_before["resourceVersion"]
        new["apiVersion"], new["kind"] = kind.api_version, kind.name
        kind.default(new)
        if kind.has_generation and _desired_state(new) != _desired_state(before):
            metadata["generation"] = metadata_before.get("generation", 0) + 1
        if options.from_client and not options.subresource:
            validate(kind, new, before)
        if not options.is_applied and _without_managed_fields(new) == _without_managed_fields(before):
            return before
        new = self._with_owner(kind, before, new, options)
        if new == before or options.dry_run:
            return new
        is_finalized = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if is_finalized and "deletionGracePeriodSeconds" not in metadata:
            self.store.remove(kind, *key_of(new))
            return new
        return self.store.put(kind, new)

    def update(self, kind: Kind, obj: Object, change: Callable[[Object], None]) -> Object:
        """Apply `change` to the latest version of an object, for controllers. Raises StatusError 404 if it is gone."""
        before = self.store.get(kind, *key_of(obj))
        if before is None or uid_of(before) != uid_of(obj):
            raise not_found(kind, name_of(obj))
        new = deep_copy(before)
        change(new)
        return self.replace(kind, before, new)

    def set_status(self, kind: Kind, obj: Object, status: Object) -> Object:
        """Store the object with another status, if it differs."""
        if obj.get("status") == status:
            return obj
        return self.store.put(kind, {**obj, "status": status})

    def delete(self, kind: Kind, obj: Object, grace_period: int | None = None) -> Object:
        """Delete an object, and return its last state.

        An object with a grace period (in seconds) or with finalizers is only marked; whoever ends it removes it. Its
        dependents are garbage-collected when it is gone.
        """
        if kind.grace_period is not None:
            default = kind.grace_period(obj)
            seconds = default if default is None or grace_period is None else grace_period
            if seconds is not None and seconds > 0:
                return self._mark_deleted(kind, obj, seconds)
        elif obj["metadata"].get("finalizers"):
            return self._mark_deleted(kind, obj)
        return self.store.remove(kind, *key_of(obj)) or obj

    def _mark_deleted(self, kind: Kind, obj: Object, grace_period: int | None = None) -> Object:
        if is_terminating(obj):
            return obj
        marked = deep_copy(obj)
        marked["metadata"]["deletionTimestamp"] = timestamp(self.now() + timedelta(seconds=grace_period or 0))
        if grace_period is not None:
            marked["metadata"]["deletionGracePeriodSeconds"] = grace_period
        return self.store.put(kind, marked)

    def orphan(self, kinds: Iterable[Kind], owner: Object) -> None:
        """Remove the references to `owner` from its dependents, so that they are not garbage-collected with it."""
        for kind in kinds:
            for obj in self.store.all(kind, namespace_of(owner)):
                references = obj["metadata"].get("ownerReferences") or []
                others = [reference for reference in references if reference["uid"] != uid_of(owner)]
                if len(others) < len(references):
                    orphaned = deep_copy(obj)
                    orphaned["metadata"]["ownerReferences"] = others
                    self.store.put(kind, orphaned)

    def _with_owner(self, kind: Kind, before: Object | None, after: Object, options: WriteOptions) -> Object:
        if options.is_applied or not options.field_manager:
            return after
        if before is not None:  # a client cannot set managedFields
            after = _without_managed_fields(after)
        return track_update(kind, before, after, options.field_manager, options.subresource, timestamp(self.now()))


def _without_managed_fields(obj: Object) -> Object:
    return {**obj, "metadata": {field: value for field, value in obj["metadata"].items() if field != "managedFields"}}


def _desired_state(obj: Object) -> Object:
    return {field: value for field, value in obj.items() if field not in ("metadata", "status", "apiVersion", "kind")}

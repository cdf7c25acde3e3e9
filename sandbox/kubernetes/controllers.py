"""The control loop: controllers reconcile what has changed until nothing is left to do, and record events about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sandbox.kubernetes.kinds import Column, Kind, computed_column, duration_since, path_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    controller_of,
    deep_copy,
    name_of,
    name_suffix,
    namespace_of,
    timestamp,
    uid_of,
)
from sandbox.kubernetes.state import Change, Store, Writer

MAX_STEPS = 20_000  # a loop that has not ended by then never will


class Controller(Protocol):
    """Reconciles the objects of a kind, by namespace and name."""

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        """Yield the keys of those of its objects that a change of any object affects."""

    def reconcile(self, namespace: str, name: str) -> None:
        """Do the next thing for one object, which may be gone."""


class Cluster:
    """What controllers work with: the objects, the time, and the queue of keys to reconcile.

    `call_after` calls a function after so many seconds.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        now: Callable[[], datetime],
        call_after: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.store = store
        self.writer = writer
        self.now = now
        self._call_after = call_after
        self._controllers: Sequence[Controller] = ()
        self._queue: dict[tuple[Controller, Key], None] = {}
        self._due: dict[tuple[Controller, Key], datetime] = {}
        self._is_settling = False
        store.listeners.append(self._on_change)

    def start(self, controllers: Sequence[Controller]) -> None:
        """Run these controllers from now on."""
        self._controllers = controllers

    def enqueue(self, controller: Controller, key: Key, seconds: float) -> None:
        """Reconcile an object again, at once or in `seconds`, unless it is due before that already."""
        if seconds <= 0:
            self._queue[(controller, key)] = None
            return
        at = self.now() + timedelta(seconds=seconds)
        if self.now() < self._due.get((controller, key), self.now()) <= at:
            return
        self._due[(controller, key)] = at

        def due() -> None:
            self._queue[(controller, key)] = None
            self.settle()

        self._call_after(seconds, due)

    def settle(self) -> None:
        """Run the controllers until their queue is empty."""
        if self._is_settling:
            return
        self._is_settling = True
        try:
            for _ in range(MAX_STEPS):
                if not self._queue:
                    return
                controller, key = next(iter(self._queue))
                del self._queue[(controller, key)]
                controller.reconcile(*key)
            raise RuntimeError(f"the controllers do not come to rest: {list(self._queue)[:5]}")
        finally:
            self._is_settling = False

    def controlled_by(self, owner: Object, kind: Kind) -> list[Object]:
        """Return the objects of a kind that `owner` controls, by its uid and not just by its name."""
        uid = uid_of(owner)
        objects = self.store.all(kind, namespace_of(owner))
        return [obj for obj in objects if (reference := controller_of(obj)) and reference["uid"] == uid]

    def record_event(self, about: Object, reason: str, message: str, *, source: str, warning: bool = False) -> None:
        """Record an Event about an object; the same event again is counted."""
        namespace = namespace_of(about) or "default"
        name = f"{name_of(about)}.{name_suffix(f'{uid_of(about)}/{reason}/{message}', 16)}"
        now = timestamp(self.writer.now())
        before = self.store.get(EVENT, namespace, name)
        if before is not None:
            self.store.put(EVENT, {**deep_copy(before), "count": before["count"] + 1, "lastTimestamp": now})
            return
        event = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "kind": about["kind"],
                "namespace": namespace_of(about),
                "name": name_of(about),
                "uid": uid_of(about),
                "apiVersion": about["apiVersion"],
                "resourceVersion": about["metadata"].get("resourceVersion", ""),
            },
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
        self.writer.create(EVENT, event)

    def _on_change(self, kind: Kind, change: Change) -> None:
        for controller in self._controllers:
            for key in controller.affected(kind, change):
                self._queue[(controller, key)] = None


def _last_seen(event: Object, now: datetime) -> str:
    seen = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return duration_since(seen, now)


def _involved_object(event: Object) -> str:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


EVENT = Kind(
    "",
    "v1",
    "events",
    "Event",
    ("ev",),
    columns=(
        Column("Last Seen", _last_seen),
        path_column("Type", "type"),
        path_column("Reason", "reason"),
        computed_column("Object", _involved_object),
        path_column("Message", "message"),
    ),
    has_generation=False,
    selectable_fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)

KINDS = (EVENT,)

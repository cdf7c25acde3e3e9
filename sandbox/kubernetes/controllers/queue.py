"""The loop that all controllers share: what has changed is looked at again until nothing more is to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sandbox.kubernetes.events import Events
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, namespace_of, owner_of, uid_of
from sandbox.kubernetes.store import Change, Key, Store
from sandbox.kubernetes.writes import Writer

LONGEST = 20_000  # steps; a loop that has not ended by then never will


class Controller(Protocol):
    """Looks after objects by namespace and name."""

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        """Which of its objects a change concerns."""

    def reconcile(self, namespace: str, name: str) -> None:
        """Do the next thing for one object, which may be gone."""


class Cluster:
    """What controllers work with: the objects, the time, and a call later on. `after` takes seconds."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        now: Callable[[], datetime],
        after: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.store = store
        self.writer = writer
        self.now = now
        self._after = after
        self._waiting: dict[tuple[Controller, Key], None] = {}
        self._controllers: Sequence[Controller] = ()
        self._due: dict[tuple[Controller, Key], datetime] = {}
        self._events = Events(store, writer)
        self._settling = False
        store.listeners.append(self._changed)

    def run(self, controllers: Sequence[Controller]) -> None:
        """From now on these controllers hear of changes."""
        self._controllers = controllers

    def look_again(self, controller: Controller, key: Key, seconds: float = 0.0) -> None:
        """Let a controller look at one of its objects, now or in `seconds`; if it does so before, it asks again."""
        if seconds <= 0:
            self._waiting[(controller, key)] = None
            return
        at = self.now() + timedelta(seconds=seconds)
        if self.now() < self._due.get((controller, key), self.now()) <= at:
            return
        self._due[(controller, key)] = at

        def due() -> None:
            self._waiting[(controller, key)] = None
            self.settle()

        self._after(seconds, due)

    def made_by(self, owner: Object, kind: Kind) -> list[Object]:
        """The objects of a kind that this very owner controls, not one of its name."""
        uid = uid_of(owner)
        found = self.store.all(kind, namespace_of(owner))
        return [one for one in found if (reference := owner_of(one)) and reference["uid"] == uid]

    def event(self, about: Object, reason: str, message: str, *, source: str, warning: bool = False) -> None:
        """Tell an Event about an object; the same again is counted."""
        self._events.tell(about, reason, message, source=source, warning=warning)

    def settle(self) -> None:
        """Let the controllers work until there is nothing to do."""
        if self._settling:
            return
        self._settling = True
        try:
            for _ in range(LONGEST):
                if not self._waiting:
                    return
                controller, key = next(iter(self._waiting))
                del self._waiting[(controller, key)]
                controller.reconcile(*key)
            raise RuntimeError(f"the controllers do not come to rest: {list(self._waiting)[:5]}")
        finally:
            self._settling = False

    def _changed(self, kind: Kind, change: Change) -> None:
        for controller in self._controllers:
            for key in controller.concerns(kind, change):
                self._waiting[(controller, key)] = None

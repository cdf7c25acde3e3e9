"""How containers behave, which a real cluster learns from their images and the sandbox is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from sandbox.kubernetes.objects import Object

START = 20.0  # s until a pod is ready


@dataclass(frozen=True)
class Behaviour:
    """What a container of an image does. Times are seconds of the world.

    `start` is the time until it is ready. With `fault` it never gets there. A container of a Job runs `run` and ends
    with `exit_code`; `log` is what it writes meanwhile.
    """

    start: float = START
    fault: Literal["ImagePullBackOff", "CrashLoopBackOff", "NotReady"] | None = None
    run: float = 30.0
    exit_code: int = 0
    log: Sequence[str] = ()


class Behaviours:
    """Behaviours by image, as shell patterns (`*/tamv-core:v2.4.1`); the one added last counts.

    A pattern with a blank in it (`*/tamv-core:* npm run migrate:up*`) is of the image and what it runs.
    """

    def __init__(self) -> None:
        self._known: list[tuple[str, Behaviour]] = []

    def set(self, pattern: str, behaviour: Behaviour) -> None:
        self._known.insert(0, (pattern, behaviour))

    def of(self, container: Object) -> Behaviour:
        """That of a container as a pod's spec has it."""
        image = str(container["image"])
        whole = " ".join([image, *(container.get("command") or ()), *(container.get("args") or ())])
        fitting = (known for pattern, known in self._known if fnmatchcase(whole if " " in pattern else image, pattern))
        return next(fitting, Behaviour())

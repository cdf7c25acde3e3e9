"""Effects: the calls that change something outside. In a rehearsal they are noted, not made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from bot.domain.run import Effect

P = ParamSpec("P")
T = TypeVar("T")


class Recorder:
    """What a rehearsal has noted, in order."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def dry_run() -> Iterator[Recorder]:
    """Within this, in this task and those it starts, effects are noted and nothing outside changes."""
    recorder = Recorder()
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def in_dry_run() -> bool:
    return _recorder.get() is not None


def effect(
    key: str, *, hidden: Collection[str] = ()
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T | None]]]:
    """Make an async method of an integration an effect, told by the words under `effects.<key>` and its arguments.

    In a rehearsal the method is not called and the answer is None. A method with a parameter `dry_run` is called with
    `dry_run=True` instead, asks the remote what would happen without letting it happen, and gives the diff as text.
    Arguments that are `hidden` are no facts: long lists, of which the diff tells.
    """
    left_out = {"self", "dry_run", "key", *hidden}

    def wrap(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T | None]]:
        signature = inspect.signature(method)
        asks = "dry_run" in signature.parameters

        @functools.wraps(method)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T | None:
            recorder = _recorder.get()
            if recorder is None:
                return await method(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            facts: dict[str, Any] = {name: value for name, value in bound.arguments.items() if name not in left_out}
            diff = await method(*args, **{**kwargs, "dry_run": True}) if asks else ""  # type: ignore[arg-type]
            recorder.effects.append(Effect(key, _plain(facts), diff if isinstance(diff, str) else ""))
            return None

        return run

    return wrap


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float | bool | None | list | dict) else str(value)
        for name, value in facts.items()
    }

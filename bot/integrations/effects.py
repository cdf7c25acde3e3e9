"""Effects: calls that change something outside the bot. A dry run records them instead of making them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from bot.domain.errors import BotError
from bot.domain.run import Effect

P = ParamSpec("P")
T = TypeVar("T")


class Recorder:
    """The effects that a dry run recorded, in order."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []


class Execution:
    """The effects that an execution begins, and how each of them ended. Closed, it lets no other begin but those that
    stop what it has begun.

    `done` counts the calls that came back well, `failed` those that raised. `uncertain`: a call was cut off, or its
    answer was lost, so it may have been done all the same.
    """

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.uncertain = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @property
    def started(self) -> bool:
        return bool(self.done or self.failed or self.uncertain or self._running)

    async def close(self, seconds: float) -> None:
        """Let no other effect begin, and wait for those under way to end, at most `seconds`."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the effects of this task and the tasks it starts."""
        token = _execution.set(self)
        try:
            yield
        finally:
            _execution.reset(token)

    async def call(self, effect: Callable[[], Awaitable[T]], *, stops: bool = False) -> T:
        """Make the effect's call and record how it ended. Raises CancelledError once closed, unless it `stops`."""
        if self._closed and not stops:
            raise asyncio.CancelledError
        self._running += 1
        self._idle.clear()
        try:
            result = await effect()
        except BotError as problem:
            self.failed += 1
            self.uncertain |= bool(problem.facts.get("uncertain"))
            raise
        except BaseException:  # cancelled, or unforeseen: nobody knows how far it came
            self.uncertain = True
            raise
        else:
            self.done += 1
            return result
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


# Awaited before each effect and each message, in a task that runs a workflow: it lets pass only who may act.
effect_gate: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("effect_gate", default=None)
_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
_execution: ContextVar[Execution | None] = ContextVar("execution", default=None)


@contextmanager
def dry_run() -> Iterator[Recorder]:
    """Record effects instead of making them, in this task and the tasks it starts."""
    recorder = Recorder()
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def in_dry_run() -> bool:
    return _recorder.get() is not None


def effect(
    key: str, *, hidden: Collection[str] = (), stops: bool = False
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T | None]]]:
    """Decorate an async method of an integration as an effect. Its text is under `effects.<key>`, its arguments are the
    facts.

    In a dry run the method is not called and returns None. A method with a parameter `dry_run` is called with
    `dry_run=True` instead: it asks the remote service what would happen and returns the diff as text. Arguments that
    are `hidden` are left out of the facts: long lists that the diff shows. A method that `stops` what goes on may be
    called by an action that was interrupted.
    """
    left_out = {"self", "dry_run", "key", *hidden}

    def wrap(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T | None]]:
        signature = inspect.signature(method)
        supports_dry_run = "dry_run" in signature.parameters

        @functools.wraps(method)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T | None:
            recorder = _recorder.get()
            if recorder is None:
                if gate := effect_gate.get():
                    await gate()
                execution = _execution.get()
                if execution is None:
                    return await method(*args, **kwargs)
                return await execution.call(functools.partial(method, *args, **kwargs), stops=stops)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            facts: dict[str, Any] = {name: value for name, value in bound.arguments.items() if name not in left_out}
            diff = await method(*args, **{**kwargs, "dry_run": True}) if supports_dry_run else ""  # type: ignore[arg-type]
            recorder.effects.append(
                Effect(key, {name: _plain(fact) for name, fact in facts.items()}, diff if isinstance(diff, str) else "")
            )
            return None

        return run

    return wrap


def _plain(value: Any) -> Any:
    """Return a fact as plain JSON; what JSON has no form for is written out (a matcher, a time)."""
    match value:
        case str() | int() | float() | None:
            return value
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
    return str(value)

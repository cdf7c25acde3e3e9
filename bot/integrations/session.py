"""What the clients of plain HTTP share: a session that is open while the bot runs."""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar, Self

import aiohttp

from bot.domain.errors import Unavailable


class HttpClient:
    """Can be used inside `async with`; `options` are those of aiohttp's session."""

    service: ClassVar[str]

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._opened = aiohttp.ClientSession(**self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened:
            await self._opened.close()
        self._opened = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        """Raises Unavailable outside of `async with`."""
        if self._opened is None:
            raise Unavailable("unreachable", service=self.service)
        return self._opened

"""The browser of the console's tests, one for all tests, and a console of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.console.page import Console, browser, console
from tests.real.parts import require


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    require("chromium")
    async with browser() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def at(chromium: Browser) -> AsyncIterator[Console]:
    async with console(chromium) as opened:
        yield opened

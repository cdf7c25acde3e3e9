"""A browser that looks at the console, with the sandbox behind it and the test bot behind that."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from sandbox.server import Sandbox
from tests.console.bot import Bot
from tests.console.stage import Stage
from tests.real.parts import installed

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 30_000  # ms: a machine that is busy with other things is slow, and that is no mistake of the page
DESKTOP = (1440, 900)
PHONE = (390, 844)


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=installed("chromium"), args=ARGUMENTS)
        yield opened
        await opened.close()


@dataclass(kw_only=True)
class Pages:
    """`problems` are the errors that the pages had, in the console of the browser or as exceptions."""

    browser: Browser
    url: str
    problems: list[str] = field(default_factory=list)

    async def open(
        self,
        place: str = "C0INCIDENT",
        *,
        who: str = "ana",
        lang: str = "en",
        size: tuple[int, int] = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        context = await self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            locale="en-GB",
            timezone_id="UTC",
            has_touch=size == PHONE,
            is_mobile=size == PHONE,
        )
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        await page.goto(f"{self.url}/console/?as={who}&lang={lang}#/{place}")
        await page.wait_for_selector("#sidebar .channel-link", state="attached")
        return page

    async def close(self) -> None:
        """No page may have had an error: AssertionError."""
        for context in self.browser.contexts:
            await context.close()
        assert not self.problems, f"the page had errors: {self.problems}"


@dataclass(kw_only=True)
class Console(Pages):
    sandbox: Sandbox
    bot: Bot

    @property
    def stage(self) -> Stage:
        return Stage(self.sandbox.slack)

    async def sees(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds in the sandbox or its bot. TimeoutError when it does not come about."""
        await self.sandbox.slack.wait_for(condition, PATIENCE / 1000)


@contextlib.asynccontextmanager
async def console(browser: Browser) -> AsyncIterator[Console]:
    """A console of its own; no page may have had an error when the test is over."""
    sandbox = Sandbox()
    async with sandbox.serving() as url, Bot(sandbox).serving() as bot:
        opened = Console(browser=browser, url=url, sandbox=sandbox, bot=bot)
        yield opened
        await opened.close()


async def type_command(page: Page, text: str) -> None:
    box = page.locator("#main .composer-text")
    await box.fill(text)
    await box.press("Enter")


def message(page: Page, text: str) -> Locator:
    return page.locator("#main article.message", has_text=text)


async def picture(page: Page, name: str) -> None:
    """A screenshot for the eye, when CONSOLE_PICTURES names a folder."""
    if folder := os.environ.get("CONSOLE_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def is_wider(page: Page) -> bool:
    """Whether the page can be scrolled sideways."""
    return bool(await page.evaluate("document.documentElement.scrollWidth > innerWidth"))


async def style(locator: Locator, name: str) -> Any:
    return await locator.evaluate("(node, name) => getComputedStyle(node).getPropertyValue(name)", name)

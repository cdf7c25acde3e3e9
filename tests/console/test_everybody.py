"""Everybody can use the console and read the pages: judged by axe-core, by day and by night, on a phone and at a desk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.console.page import DESKTOP, PHONE, Console, picture
from tests.domain.story import completed
from tests.messages.test_report import LANGUAGES, written

pytestmark = [pytest.mark.real("chromium"), pytest.mark.asyncio(loop_scope="session")]

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = {"phone": PHONE, "desktop": DESKTOP}
SERIOUS = ("serious", "critical")
# WCAG 2.2, 2.5.5: what can be touched is 44 px wide and high. Links within a text are left out, as there.
TOO_SMALL = """() => [...document.querySelectorAll("button, select, input, textarea, [role=button], [role=tab]")]
  .filter((control) => control.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
  .map((control) => [control, control.getBoundingClientRect()])
  .filter(([, box]) => box.width && box.height && (Math.round(box.height) < 44 || Math.round(box.width) < 44))
  .map(([control, box]) => `${control.getAttribute("aria-label") || control.textContent || control.className}` +
    `: ${Math.round(box.width)} × ${Math.round(box.height)}`)"""


async def serious(page: Page, where: str) -> list[str]:
    """Return what axe-core finds serious or critical, each with the first element that it concerns."""
    found: dict[str, Any] = (await Axe().run(page)).response
    return [
        f"{where}: {one['id']}: {one['nodes'][0]['html'][:160]} ({len(one['nodes'])})"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]


async def test_axe_finds_nothing_serious_in_the_console(at: Console) -> None:
    channel = (await at.stage.incident()).id
    found: list[str] = []
    for language, scheme, size in itertools.product(LANGUAGES, SCHEMES, SIZES):
        page = await at.open(channel, lang=language, scheme=scheme, size=SIZES[size])
        await page.wait_for_selector("#main article.message")
        found += await serious(page, f"{language}, {scheme}, {size}")
        await picture(page, f"everybody-{language}-{scheme}-{size}")
        await page.context.close()
    assert not found, "\n".join(found)


async def test_a_thumb_hits_every_control_of_the_console(at: Console) -> None:
    channel = (await at.stage.incident()).id
    page = await at.open(channel, size=PHONE)
    await page.wait_for_selector("#main article.message")
    assert not (small := await page.evaluate(TOO_SMALL)), "\n".join(small)


async def test_axe_finds_nothing_serious_in_the_report(chromium: Browser, tmp_path: Path) -> None:
    found: list[str] = []
    for language, scheme, size in itertools.product(LANGUAGES, SCHEMES, SIZES):
        file = tmp_path / f"{language}.html"
        file.write_text(written(completed(), language).html, "utf-8")
        width, height = SIZES[size]
        page = await chromium.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
        )
        await page.goto(file.as_uri())
        found += await serious(page, f"{language}, {scheme}, {size}")
        await page.close()
    assert not found, "\n".join(found)

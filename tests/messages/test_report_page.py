"""The report's page on a phone, in a real browser: legible by day and by night, and nothing said by colour alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.console.page import PHONE, browser
from tests.domain.story import completed
from tests.messages.test_report import LANGUAGES, written
from tests.real.parts import require

pytestmark = pytest.mark.real("chromium")

# WCAG 2.2, 1.4.3: the contrast of each text with what is behind it, where that is below 4.5.
TOO_FAINT = """() => {
  const paper = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const canvas = paper.getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => rgb(color).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return rgb(color)[3] === 255 || !node.parentElement ? color : behind(node.parentElement);
  };
  return [...document.querySelectorAll("main *")]
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((node) => {
      const [high, low] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
      return [(high + 0.05) / (low + 0.05), node.textContent.trim().slice(0, 40)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    require("chromium")
    async with browser() as opened:
        yield opened


async def test_it_can_be_read_on_a_phone_by_day_and_by_night(chromium: Browser, tmp_path: Path) -> None:
    problems: list[str] = []
    for language in LANGUAGES:
        file = tmp_path / f"{language}.html"
        file.write_text(written(completed(), language).html, "utf-8")
        for scheme in ("light", "dark"):
            page = await chromium.new_page(
                viewport={"width": PHONE[0], "height": PHONE[1]},
                color_scheme=scheme,
            )
            page.on("console", lambda told: problems.append(told.text))
            await page.goto(file.as_uri())
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
            assert await page.evaluate(TOO_FAINT) == [], (language, scheme)
            bar = page.locator(".bar")
            said = await bar.get_attribute("aria-label")
            legend = await page.locator(".legend li").all_inner_texts()
            assert said and [re.sub(r"\s+", " ", one).strip() for one in legend] == said.split(", ")
            assert all(await page.locator("img").evaluate_all("(images) => images.map((image) => image.alt)"))
            cured = await page.locator("h2").nth(1).bounding_box()
            assert cured and cured["y"] < PHONE[1], "where the time went is on the first screen"
            assert problems == []
            await page.close()

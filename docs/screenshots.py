"""`make screenshots`: plays the demo in one language, and takes the README's pictures of its console and report."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, async_playwright

from demo.environment import demo_environment
from demo.play import company_speaking
from sandbox.clock import Clock
from sandbox.responder import respond
from sandbox.server import Sandbox

IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE, PAPER, TALL = (1440, 900), (390, 844), (860, 1100), (980, 1110)
APPROVED = "#main article.message:has-text('node-type=gpu-high-memory')"
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]

# Images further away are loaded when somebody comes near them.
DRAWN = """Array.from(document.images).every((image) => {
  const box = image.getBoundingClientRect();
  return image.complete || box.bottom < 0 || box.top > innerHeight;
})"""


def main(language: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is needed. On Debian: apt-get install chromium libatomic1 fonts-noto-color-emoji")
    IMAGES.mkdir(exist_ok=True)
    asyncio.run(_play(chromium, language))


async def _play(chromium: str, language: str) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=BROWSER)
        await _pictures(browser, language)
        await browser.close()


async def _pictures(browser: Browser, language: str) -> None:
    sandbox = Sandbox(company_speaking(language), clock=Clock(speed=30.0))
    with tempfile.TemporaryDirectory() as folder:
        database, cluster = f"sqlite:///{folder}/demo.db", Path(folder)
        async with demo_environment(sandbox, database, locale=language, cluster=cluster) as stage:
            incident = await respond(sandbox, "render-latency", say=print, language=language)
            channel = (await stage.bot.incidents.find(incident)).channel
            console = f"{stage.url}/console/?as=ana&lang={language}#/{channel}"
            await _picture(browser, console, f"console-{language}", DESKTOP)
            await _picture(browser, console, f"console-{language}-phone", PHONE, scheme="dark")
            await _picture(browser, console, f"run-{language}", TALL, at=APPROVED)
            report = Path(folder) / "report.html"
            report.write_text((await stage.bot.reports.render(incident)).html, encoding="utf-8")
            await _picture(browser, report.as_uri(), f"report-{language}", PAPER)


async def _picture(
    browser: Browser,
    address: str,
    name: str,
    size: tuple[int, int],
    scheme: Literal["light", "dark"] = "light",
    at: str | None = None,
) -> None:
    """`at` is what shall stand at the bottom; without it, whatever does."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        timezone_id="UTC",
        device_scale_factor=1.5,
        bypass_csp=True,  # the page lets nobody evaluate anything, and we have to
    )
    page = await context.new_page()
    await page.goto(address)
    if address.startswith("http"):
        await page.wait_for_selector("#main article.message")
    if at:
        await page.locator(at).last.evaluate("one => one.scrollIntoView({block: 'end'})")
    await page.wait_for_function(DRAWN)
    await page.screenshot(path=IMAGES / f"{name}.png")
    await context.close()


if __name__ == "__main__":
    main(sys.argv[1])

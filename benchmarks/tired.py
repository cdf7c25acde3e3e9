"""The tired human: what somebody on a phone has to touch and to read from the alert to the resolution.

Nobody types. The pushed channel is opened in the console at 390 × 844; taps and swipes are counted until a proposed
runbook runs, and what its channel holds at the end: messages, Slack's own lines too, and words.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from benchmarks.figures import Figure
from bot.shipped import EXAMPLE_TEAM
from demo.environment import demo_environment
from sandbox.clock import LoadAwareClock
from sandbox.deadline import deadline
from sandbox.kubernetes.seed import write_charts
from sandbox.responder import Response, Story, wait_for_declaration
from sandbox.server import Sandbox
from sandbox.slack.state import Channel
from sandbox.world.scenario import load_scenario
from tests.real import helm

BAR = "the tired human: phone 390 × 844, nobody types"
SCENARIOS = ("render-latency", "bad-deploy", "gpu-node-loss", "traffic-surge")
LANGUAGES = ("es", "en")
SPEED = 60.0
PHONE = {"width": 390, "height": 844}
PATIENCE = 60.0  # real seconds in which something must move
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
TAPS, SWIPES, MESSAGES, WORDS, MAIN_CHANNEL = 3, 0, 8, 200, 1

# Those of the channel itself: no threads, nothing private.
SHOWN = """() => [...document.querySelectorAll("#main article.message:not(.is-ephemeral)")].map((message) =>
  [...message.querySelectorAll(".message-text, .blocks")].map((part) => part.innerText).join(" "))"""
NO_MARKS = ".edited { display: none }"  # Slack's mark of an edit is none of the words to read
# How many screens away a button is from what is seen.
AWAY = """(button) => {
  let box = button.parentElement;
  while (box && !(box.scrollHeight > box.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(box).overflowY)))
    box = box.parentElement;
  const seen = (box ?? document.documentElement).getBoundingClientRect();
  const at = button.getBoundingClientRect();
  const away = Math.max(seen.top - at.top, at.bottom - Math.min(seen.bottom, innerHeight), 0);
  return Math.ceil(away / seen.height);
}"""


@dataclass
class Counted:
    """What one incident asked of a person. `px` is the height of the channel at its end."""

    taps: int = 0
    swipes: int = 0
    messages: list[str] = field(default_factory=list)
    main_channel: int = 0
    px: int = 0

    @property
    def words(self) -> int:
        """What stands between blanks and has a letter or a digit, on buttons too."""
        return sum(bool(re.search(r"\w", word)) for text in self.messages for word in text.split())


async def tired() -> list[Figure]:
    chromium = shutil.which("chromium")
    if chromium is None:
        return [Figure(BAR, "everything", None, "", note="Chromium is not installed")]
    figures: list[Figure] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=BROWSER)
        for scenario in SCENARIOS:
            for language in LANGUAGES:
                figures += _figures(f"{scenario}, {language}", await incident(browser, scenario, language))
        await browser.close()
    return figures


def _figures(name: str, counted: Counted) -> list[Figure]:
    return [
        Figure(BAR, f"{name}: alert → first change", counted.taps, "taps", TAPS),
        Figure(BAR, f"{name}: until then", counted.swipes, "swipes", SWIPES),
        Figure(BAR, f"{name}: in its channel", len(counted.messages), "messages", MESSAGES, f"{counted.px} px high"),
        Figure(BAR, f"{name}: in its channel", counted.words, "words", WORDS),
        Figure(BAR, f"{name}: in the incident channel", counted.main_channel, "messages", MAIN_CHANNEL),
    ]


async def incident(browser: Browser, scenario: str, language: str, picture: Path | None = None) -> Counted:
    """Play a scenario from the alert to its report, by taps alone. `picture` is where the channel is drawn at its end.

    Raises TimeoutError, and SignMissing, where the bot does not come that far.
    """
    sandbox = Sandbox(clock=LoadAwareClock(speed=SPEED))
    with tempfile.TemporaryDirectory() as folder:
        database, cluster, team = f"sqlite:///{folder}/demo.db", Path(folder), Path(folder) / "team"
        await asyncio.to_thread(shutil.copytree, EXAMPLE_TEAM, team)
        write_charts(team / "charts")
        program = str(await asyncio.to_thread(helm.helm))
        given: dict[str, object] = {"helm": program, "team_dir": team, "bot_config": None}
        async with demo_environment(sandbox, database, locale=language, cluster=cluster, **given) as stage:
            story = Story(sandbox.clock, scenario, language, lambda line: None)
            sandbox.world.play(load_scenario(scenario))
            response = await wait_for_declaration(sandbox, story)
            await _until(lambda: response.ana.id in response.channel.members and _has(response.channel, "run_proposed"))
            await _until_quiet(response)
            context = await browser.new_context(
                viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2, bypass_csp=True
            )
            page = await context.new_page()
            counted = Counted(taps=1)  # the push
            await page.goto(f"{stage.url}/console/?as=ana&lang={language}#/{response.channel.id}")
            await page.wait_for_selector("#main article.message")
            for action in ("take_command", "run_proposed"):
                await _tap(page, action, counted)
            await _to_the_end(response)
            counted.main_channel = _lasting(sandbox.slack.channel("tamv-incidents"))
            await _until_shown(page, _lasting(response.channel))
            await page.add_style_tag(content=NO_MARKS)
            counted.messages = await page.evaluate(SHOWN)
            counted.px = round(
                await page.evaluate("document.querySelector('#main article.message').parentElement.scrollHeight")
            )
            if picture:
                await page.screenshot(path=picture, full_page=True)
            await context.close()
    return counted


async def _tap(page: Page, action: str, counted: Counted) -> None:
    newest = page.locator("#main article.message", has=page.locator(f"[data-action={action}]")).last
    button = newest.locator(f"[data-action={action}]").first
    await button.wait_for()
    counted.swipes += await button.evaluate(AWAY)
    await button.tap()
    counted.taps += 1


async def _to_the_end(response: Response) -> None:
    """Approve what asks, end what is over, and wait for the report."""
    channel, sandbox = response.channel, response.sandbox
    await _until(lambda: _has(channel, "cancel_run"))
    while True:
        await _until(lambda: _has(channel, "approve") or not _has(channel, "cancel_run"))
        if not (found := _has(channel, "approve")):
            break
        await response.bruno.press(found, "approve")
        await _until(lambda before=found: _has(channel, "approve") is not before)
    sandbox.world.perform("fix")  # what the runbook has not mended
    await _until(lambda: _over(response), 40 * 60)
    await _until_quiet(response)
    for action in ("mitigate", "resolve"):
        await _until(lambda wanted=action: _has(channel, wanted))
        await response.ana.press(_has(channel, action), action)
    await _until(lambda: _has(channel, "open_report"))
    await _until_quiet(response)


def _has(channel: Channel, action: str) -> Any:
    """Return the newest public message with this button."""
    for message in reversed(channel.messages.values()):
        if message.ephemeral_to is None and any(element["action_id"] == action for _, element in message.elements()):
            return message
    return None


def _lasting(channel: Channel) -> int:
    """How many messages everybody sees in the channel itself."""
    return sum(
        message.ephemeral_to is None and message.thread_ts in (None, message.ts)
        for message in channel.messages.values()
    )


def _over(response: Response) -> bool:
    now = response.sandbox.clock.now()
    alerts = response.sandbox.alertmanager.alerts.values()
    return all(alert.is_resolved(now) for alert in alerts)


async def _until(condition: Callable[[], Any], world_seconds: float = 0.0) -> None:
    async with deadline(PATIENCE + world_seconds / SPEED):
        while not condition():
            await _moment()


async def _until_quiet(response: Response) -> None:
    """Wait until nothing has changed in the channel for two seconds: people read when it stands."""
    seen, quiet = "", 0
    async with deadline(PATIENCE):
        while quiet < 20:
            now = str([(message.ts, message.all_text()) for message in response.channel.messages.values()])
            seen, quiet = now, quiet + 1 if now == seen else 0
            await _moment()


async def _until_shown(page: Page, count: int) -> None:
    async with deadline(PATIENCE):
        while len(await page.evaluate(SHOWN)) > count:
            await _moment()


async def _moment() -> None:
    await asyncio.sleep(0.1)

"""The demo as a person sees it: the bot itself behind the page, from the typed command to the report."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from demo.environment import demo_environment
from sandbox.server import Sandbox
from tests.console.page import PHONE, Pages, is_wider, message, picture, type_command

pytestmark = [pytest.mark.real("chromium"), pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[str]:
    """The demo's address. It runs in a thread, since the bot's engine takes its loop's threads with it at its end."""
    address: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/demo.db") as stage:
                address.set_result((stage.url, asyncio.get_running_loop(), stop))
                await stop.wait()
        except Exception as problem:
            if not address.done():
                address.set_exception(problem)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="demo")
    thread.start()
    url, loop, stop = address.result(timeout=30)
    yield url
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


async def pressed(page: Page, button: str) -> None:
    await page.locator("#main").get_by_role("button", name=button, exact=True).first.click()


async def drawn(pictures: Locator, count: int) -> None:
    """So many pictures are there, and each has been loaded."""
    await expect(pictures).to_have_count(count)
    for number in range(count):
        await pictures.nth(number).scroll_into_view_if_needed()
        await expect(pictures.nth(number)).to_have_js_property("complete", True)
        assert await pictures.nth(number).evaluate("(image) => image.naturalWidth") > 600


async def test_from_the_command_to_the_report(chromium: Browser, demo: str) -> None:
    pages = Pages(browser=chromium, url=demo)
    page = await pages.open(lang="es")
    await type_command(page, "/incident declare Render lento en las salas sev=SEV2 service=xr-engine")
    await expect(message(page, "SEV2 · Render lento en las salas")).to_contain_text("Reconocer")
    await page.locator("#sidebar").get_by_role("link", name=re.compile("render-lento-en-las-salas")).click()
    card = message(page, "Comandante:").first
    await expect(card).to_contain_text("Declarado")

    await pressed(page, "Reconocer")
    await expect(card).to_contain_text("Reconocido")
    await card.get_by_role("link", name=re.compile("respuesta")).click()
    pane = page.locator("#pane")
    await expect(pane.locator("article", has_text="lo reconoció")).to_be_visible()
    await drawn(pane.locator(".image-file img"), 4)
    await picture(page, "demo-charts")

    await pressed(page, "Informar")
    form = page.get_by_role("dialog", name="Informar")
    await form.get_by_label("¿Cómo está ahora?").fill("Escalamos xr-engine a 10 réplicas; más en 15 min.")
    await picture(page, "demo-form")
    await form.get_by_role("button", name="Enviar").click()
    await expect(form).to_have_count(0)
    await expect(card).to_contain_text("Escalamos xr-engine a 10 réplicas")

    await type_command(page, "/incident impact users=1240")
    await expect(pane.locator("article", has_text="anotó el impacto: 1240 personas")).to_be_visible()
    await pressed(page, "Resolver")
    await page.get_by_role("dialog", name="¿Resolver INC-").get_by_role("button", name="Resolver").click()
    await expect(card).to_contain_text("Resuelto")
    report = message(page, "Informe de INC-")
    await report.get_by_role("link", name=re.compile("respuesta")).click()
    await pane.get_by_role("link", name=re.compile("html")).click()
    text = page.frame_locator("#pane iframe")
    await expect(text.get_by_role("heading", level=1)).to_contain_text("Render lento en las salas")
    await expect(text.locator("img").first).to_be_visible()
    await expect(text.get_by_text("1240 personas").first).to_be_attached()
    await picture(page, "demo-report")

    phone = await pages.open(page.url.partition("#/")[2].partition("/")[0], lang="es", size=PHONE, scheme="dark")
    await expect(message(phone, "Informe de INC-").first).to_be_visible()
    assert not await is_wider(phone)
    await picture(phone, "demo-phone")
    await pages.close()


async def test_the_home_of_the_app_and_the_help_in_english(chromium: Browser, demo: str) -> None:
    pages = Pages(browser=chromium, url=demo)
    page = await pages.open(who="emma", lang="en")
    await type_command(page, "/incident declare Login fails sev=SEV3 service=tamv-core")
    await expect(message(page, "SEV3 · Login fails").first).to_be_visible()
    await type_command(page, "/incident help")
    await expect(message(page, "/incident declare [title]")).to_contain_text("Only visible to you")
    await type_command(page, "/oncall")
    await expect(message(page, "Who is on call")).to_contain_text("Bruno Díaz")
    await picture(page, "demo-help")
    home = await pages.open("app", who="emma", lang="en", size=PHONE)
    await expect(home.locator(".app-body")).to_contain_text("Login fails")
    assert not await is_wider(home)
    await picture(home, "demo-home")
    await pages.close()

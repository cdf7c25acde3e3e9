"""What the page shows of channels and messages, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from sandbox.slack.person import Person
from sandbox.slack.state import Caption
from tests.console.page import DESKTOP, PHONE, Console, is_wider, message, picture, style
from tests.console.stage import every_block

pytestmark = [pytest.mark.real("chromium"), pytest.mark.asyncio(loop_scope="session")]

HOSTILE = (
    '<img src=x onerror="window.broken=1">',
    "<script>window.broken=1</script>",
    '"><svg onload=window.broken=1>',
    "{{ 7 * 7 }} ${window.broken=1} `onclick`",
    "javascript:window.broken=1",
    "<!channel> <@U0ANA00001> *not bold*",
)


async def test_every_kind_of_block_is_drawn(at: Console) -> None:
    stage = at.stage
    at.stage.post(every_block(stage.chart().id), edited={"user": "U0TAMVBOT1", "ts": "1.0"})
    page = await at.open()
    drawn = message(page, "Rollback of xr-engine")
    await expect(drawn.locator("h3.block-header")).to_have_text("Rollback of xr-engine")
    for tag, words in (("strong", "bold"), ("em", "italic"), ("s", "gone"), ("code", "code")):
        await expect(drawn.locator(f".block-section {tag}").filter(has_text=words).first).to_be_visible()
    await expect(drawn.locator(".mention")).to_have_text(
        ["@Ana Torres", "#tamv-incidents", "@sre-team", "@here", "@Bruno Díaz", "@Bruno Díaz"]
    )
    await expect(drawn.locator(".mention-me")).to_have_text(["@Ana Torres", "@sre-team", "@here"])
    await expect(drawn.get_by_role("link", name="the dashboard")).to_have_attribute(
        "href", "https://example.org/a?b=1&c=2"
    )
    await expect(drawn.locator("blockquote").first).to_have_text("quoted")
    await expect(drawn.locator("pre").first).to_have_text("line 1\nline 2")
    await expect(drawn.get_by_text("🚨")).to_be_visible()
    await expect(drawn.locator(".field")).to_have_text(
        ["Severity\nSEV2", re.compile(r"Detected\s+Nov 25, 2026 10:02\s?AM"), "🔥 is shown", ":fire: is typed"]
    )
    await expect(drawn.locator("hr")).to_have_count(1)
    await expect(drawn.locator(".block-rich li")).to_have_text(["pods of xr-engine", "@Bruno Díaz looks at logs"])
    await expect(drawn.locator("table th")).to_have_text(["Figure", "Now", "Limit"])
    assert await style(drawn.locator("td").nth(1), "text-align") == "right"
    await expect(drawn.locator(".markdown li strong")).to_have_text("one")
    await expect(drawn.locator(".block-context img")).to_have_attribute("alt", "chart")
    await expect(drawn.get_by_role("button", name="Details")).to_be_visible()
    await expect(drawn.get_by_role("combobox")).to_have_count(2)
    await expect(drawn.locator(".edited")).to_have_text("(edited)")
    await expect(drawn.locator(".badge")).to_have_text("APP")
    image = drawn.locator("figure img")
    await expect(image).to_have_js_property("complete", True)
    assert await image.evaluate("(image) => image.naturalWidth") == 800
    await picture(page, "blocks")


async def test_an_image_opens_large_and_closes_with_escape(at: Console) -> None:
    at.stage.post(text="chart", files=[at.stage.chart().id])
    page = await at.open()
    await page.get_by_role("button", name="View p95.png larger").click()
    large = page.get_by_role("dialog", name="p95.png")
    await expect(large.locator("img")).to_have_attribute("alt", re.compile("812 ms"))
    await page.keyboard.press("Escape")
    await expect(large).to_have_count(0)


async def test_hostile_text_is_shown_as_typed_and_does_nothing(at: Console) -> None:
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in HOSTILE]
    blocks = [{"type": "header", "text": {"type": "plain_text", "text": text, "emoji": False}} for text in HOSTILE] + [
        {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}} for text in escaped
    ]
    at.stage.post(blocks)
    at.stage.post(
        [
            {"type": "markdown", "text": "\n\n".join(HOSTILE)},
            {"type": "section", "text": {"type": "plain_text", "text": HOSTILE[0]}},
        ]
    )
    at.stage.post(
        text="\n".join(HOSTILE), attachments=[{"title": HOSTILE[0], "title_link": HOSTILE[4], "text": HOSTILE[1]}]
    )
    at.stage.incidents.topic = Caption(HOSTILE[0])
    file = at.stage.file(HOSTILE[0], b"x", "text/plain", HOSTILE[2])
    at.stage.post(text="file", files=[file.id])
    page = await at.open()
    shown = await page.locator("#main article h3").all_inner_texts()
    assert shown == list(HOSTILE)
    assert list(await page.locator("#main .block-section").all_inner_texts())[: len(HOSTILE)] == [
        text.replace("*not bold*", "not bold").replace("`onclick`", "onclick") for text in HOSTILE
    ]
    await expect(page.locator("#main article script, #main article img, #main article [onload]")).to_have_count(0)
    assert not [
        href
        for href in await page.locator("a").evaluate_all("(all) => all.map((a) => a.getAttribute('href'))")
        if href and "javascript" in href.lower()
    ]
    assert await page.evaluate("window.broken") is None
    await picture(page, "hostile")


async def test_a_thread_opens_beside_and_takes_a_reply(at: Console) -> None:
    bruno = Person(at.sandbox.slack, "bruno")
    said = await bruno.say("tamv-incidents", "GPU at 97 %")
    await bruno.say("tamv-incidents", "since 9:58", thread=said)
    page = await at.open()
    await expect(page.locator("#main article.message")).to_have_count(1)
    await page.get_by_role("link", name="1 reply").click()
    pane = page.get_by_label("Thread", exact=True)
    await expect(pane.locator("article")).to_have_count(2)
    box = pane.get_by_role("combobox")
    await expect(box).to_be_focused()
    await box.fill("/incident status")
    await box.press("Enter")
    await expect(pane.get_by_role("alert")).to_contain_text("/incident does not work in threads")
    await box.fill("scaling *now*")
    await box.press("Enter")
    await expect(pane.locator("article")).to_have_count(3)
    await expect(page.get_by_role("link", name="2 replies")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(pane).to_have_count(0)


async def test_news_arrive_by_themselves_and_the_eye_stays_where_it_is(at: Console) -> None:
    for number in range(60):
        at.stage.post(text=f"line {number}")
    page = await at.open()
    await expect(page.get_by_text("line 59", exact=True)).to_be_in_viewport()
    at.stage.post(text="line 60")
    await expect(page.get_by_text("line 60", exact=True)).to_be_in_viewport()
    line = page.get_by_text("line 20", exact=True)
    await line.scroll_into_view_if_needed()
    before = await line.bounding_box()
    news = at.stage.post(text="line 61")
    await expect(page.get_by_role("button", name="Jump to the newest")).to_be_visible()
    at.sandbox.slack.update(news, at.sandbox.slack.bot_user, text="line 61, mended")
    await expect(page.get_by_text("line 61, mended")).to_be_attached()
    assert await line.bounding_box() == before
    await page.get_by_role("button", name="Jump to the newest").click()
    await expect(page.get_by_text("line 61, mended")).to_be_in_viewport()


async def test_what_changes_is_drawn_again_and_nothing_else(at: Console) -> None:
    first, second = at.stage.post(text="first"), at.stage.post(text="second")
    page = await at.open()
    nodes = {name: await message(page, name).element_handle() for name in ("first", "second")}
    at.sandbox.slack.update(second, at.sandbox.slack.bot_user, text="second, edited")
    await expect(message(page, "second, edited")).to_be_visible()
    assert first.text == "first"
    assert await nodes["first"].evaluate("(node) => node.isConnected")
    assert not await nodes["second"].evaluate("(node) => node.isConnected")
    at.sandbox.slack.delete(second)
    await expect(message(page, "second")).to_have_count(0)


async def test_channels_that_have_news_and_mentions_say_so(at: Console) -> None:
    at.stage.post(text="hello", channel=at.sandbox.slack.channel("general"))
    page = await at.open()
    entry = page.get_by_role("link", name=re.compile("^general"))
    await expect(entry).to_have_accessible_name("general, 1 unread")
    await Person(at.sandbox.slack, "bruno").say("general", "@ana look")
    await expect(entry).to_have_accessible_name("general, 2 unread, 1 mention you")
    await entry.click()
    await expect(entry).to_have_accessible_name("general")
    incident = at.stage.channel("inc-2026-0001-slow", "ana")
    await page.get_by_role("link", name=re.compile("^inc-2026-0001-slow")).click()
    await expect(page.get_by_role("heading", level=2, name="inc-2026-0001-slow")).to_be_visible()
    assert page.url.endswith(f"#/{incident.id}")


async def test_the_head_of_a_channel_has_topic_pins_bookmarks_and_members(at: Console) -> None:
    channel = await at.stage.incident()
    page = await at.open(channel.id)
    head = page.locator("#main .channel-head")
    await expect(head.locator(".head-topic")).to_contain_text("SEV2 · mitigado · Comandante: @Ana Torres")
    await expect(head.get_by_role("navigation", name="Bookmarks").get_by_role("link")).to_have_text(
        ["📊Render 4D", "📊Pods de xr-engine", "📊Trazas lentas"]
    )
    await expect(head.get_by_role("img", name="5 members")).to_be_visible()
    await head.get_by_role("link", name="1 pinned").click()
    await expect(page.locator("#pane article")).to_contain_text("Latencia alta en xr-engine")
    await expect(message(page, "joined #inc-2026-0007-xr-engine-lento along with")).to_contain_text("Emma Clark")
    await picture(page, "incident")


async def test_documents_open_in_the_pane_and_run_nothing(at: Console) -> None:
    channel = await at.stage.incident()
    page = await at.open(channel.id)
    await page.get_by_role("link", name="Open INC-2026-0007.md").click()
    report = page.locator("#pane .markdown")
    await expect(report.get_by_role("heading", level=2)).to_have_text("INC-2026-0007 · xr-engine is slow")
    await expect(report.locator("td").nth(1)).to_have_text("10:02")
    await expect(report.get_by_role("link", name="Slack")).to_have_attribute("href", "#/C0INCIDENT")
    await page.get_by_role("link", name="Open INC-2026-0007.html").click()
    inside = page.frame_locator("#pane iframe")
    await expect(inside.locator("h1")).to_have_text("Report")
    assert await page.evaluate("window.broken") is None
    at.problems = [problem for problem in at.problems if "sandboxed" not in problem and "script-src" not in problem]


async def test_what_only_i_see_is_marked_and_can_be_dismissed(at: Console) -> None:
    at.stage.post(text="for your eyes", ephemeral_to="U0ANA00001")
    page = await at.open()
    mine = message(page, "for your eyes")
    await expect(mine).to_contain_text("Only visible to you")
    bruno = await at.open(who="bruno")
    await expect(bruno.get_by_text("for your eyes")).to_have_count(0)
    await mine.get_by_role("button", name="Dismiss").click()
    await expect(mine).to_have_count(0)


@pytest.mark.parametrize("place", ["list", "blocks", "incident", "thread", "app", "form"])
async def test_on_a_phone_nothing_is_wider_than_the_screen(at: Console, place: str) -> None:
    at.stage.post(every_block(at.stage.chart().id), text="x" * 300)
    channel = await at.stage.incident()
    said = next(each for each in channel.messages.values() if each.thread_ts == each.ts)
    places = {
        "list": "",
        "blocks": "C0INCIDENT",
        "incident": channel.id,
        "thread": f"{channel.id}/thread/{said.ts}",
        "app": "app",
    }
    page = await at.open(places.get(place, "C0INCIDENT"), size=PHONE)
    if place == "form":
        await page.locator(".composer-text").fill("/incident form")
        await page.get_by_role("button", name="Send now").click()
        await expect(page.get_by_role("dialog", name="Declare an incident")).to_be_visible()
    elif place == "list":
        await expect(page.locator("#main")).to_be_hidden()
        await page.get_by_role("link", name=re.compile("^tamv-incidents")).click()
        await expect(page.locator("#sidebar")).to_be_hidden()
        await page.get_by_role("link", name="Back to the channels").click()
        await expect(page.locator("#sidebar")).to_be_visible()
    else:
        await expect(page.locator("article, .app-home .block").first).to_be_visible()
    assert not await is_wider(page)
    await picture(page, f"phone-{place}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_light_or_dark_as_the_system_and_can_be_switched(at: Console, scheme: str) -> None:
    page = await at.open(scheme="dark" if scheme == "dark" else "light", size=DESKTOP)
    light, dark = "rgb(255, 255, 255)", "rgb(26, 29, 33)"
    main = page.locator("#main")
    assert await style(main, "background-color") == (dark if scheme == "dark" else light)
    await page.get_by_role("button", name="Switch between light and dark").click()
    assert await style(main, "background-color") == (light if scheme == "dark" else dark)
    await page.reload()
    await expect(main.locator("textarea")).to_be_visible()
    assert await style(main, "background-color") == (light if scheme == "dark" else dark)


async def test_both_languages_have_the_same_words(at: Console) -> None:
    page = await at.open(lang="es")
    await expect(page.locator("html")).to_have_attribute("lang", "es")
    await expect(page.get_by_placeholder("Mensaje a #tamv-incidents")).to_be_visible()
    await page.get_by_role("button", name="Switch to English").click()
    await expect(page.get_by_placeholder("Message #tamv-incidents")).to_be_visible()
    words = await page.evaluate(
        "import('./static/words.js').then(({ LANGUAGES }) => Object.values(LANGUAGES).map((each) => Object.entries(each)))"
    )
    spanish, english = (dict(each) for each in words)
    assert spanish.keys() == english.keys()
    assert {key: set(re.findall(r"\{\w+\}", text)) for key, text in spanish.items()} == {
        key: set(re.findall(r"\{\w+\}", text)) for key, text in english.items()
    }


async def test_what_is_tapped_in_a_message_is_large_enough_for_a_thumb(at: Console) -> None:
    """44 px, as the messages' rules say (WCAG 2.5.5); beside text, as of links and files, there is no rule."""
    at.stage.post(every_block(at.stage.chart().id))
    channel = await at.stage.incident()
    for place in ("C0INCIDENT", channel.id, "app"):
        page = await at.open(place, size=PHONE)
        await expect(page.locator("article, .app-home .block").first).to_be_visible()
        small = await page.evaluate(
            """[...document.querySelectorAll('#main :is(.message, .app-home) :is(.button, select, .picker-box, input[type="date"])')]
            .map((node) => [node.textContent.trim() || node.ariaLabel, node.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.height < 44 || box.width < 44))
            .map(([name, box]) => `${name}: ${Math.round(box.width)} × ${Math.round(box.height)}`)"""
        )
        assert small == [], place

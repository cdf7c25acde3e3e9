"""What a person does on the page, in a real browser: what reaches the bot, and what is seen of its answer."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect

from sandbox.slack.person import Person
from tests.console.page import PHONE, Console, message, picture, type_command
from tests.console.stage import approval_blocks, every_block

pytestmark = [pytest.mark.real("chromium"), pytest.mark.asyncio(loop_scope="session")]


async def form_of(page: Page) -> Locator:
    await type_command(page, "/incident form")
    form = page.get_by_role("dialog", name="Declare an incident")
    await expect(form).to_be_visible()
    return form


async def test_a_command_is_answered_and_its_acknowledgement_timed(at: Console) -> None:
    page = await at.open()
    await type_command(page, "/incident status")
    await expect(message(page, "You said: status")).to_contain_text("Only visible to you")
    await expect(page.locator("#main .ack")).to_have_text(re.compile(r"^ack \d+(\.\d)? ms$"))
    await expect(page.locator("#main .composer-text")).to_have_value("")


async def test_commands_people_channels_and_emoji_are_completed(at: Console) -> None:
    page = await at.open()
    box = page.locator("#main .composer-text")
    await box.press_sequentially("/inc")
    options = page.locator(".completions").get_by_role("option")
    await expect(options.first).to_contain_text("/incident")
    await expect(options.first).to_contain_text("declare | list")
    await box.press("Tab")
    await expect(box).to_have_value("/incident ")
    await expect(page.locator(".completion-hint")).to_contain_text("declare | list")
    await box.fill("")
    await box.press_sequentially("@bru")
    await box.press("Enter")
    await box.press_sequentially("look at #tamv-i")
    await box.press("ArrowDown")
    await box.press("Enter")
    await box.press_sequentially(":rocke")
    await box.press("Enter")
    await expect(box).to_have_value("@bruno look at #tamv-incidents 🚀 ")
    await box.press("Enter")
    said = message(page, "look at")
    await expect(said.locator(".mention")).to_have_text(["@Bruno Díaz", "#tamv-incidents"])
    assert at.sandbox.slack.channel("tamv-incidents").visible_to("U0ANA00001")[-1].mentions() == {"@U0BRUNO002"}


async def test_an_unknown_command_stays_in_the_box_and_is_not_sent(at: Console) -> None:
    page = await at.open()
    await type_command(page, "/incidnet list")
    await expect(page.get_by_role("alert").filter(has_text="/incidnet is not a valid command")).to_be_visible()
    await expect(page.locator("#main .composer-text")).to_have_value("/incidnet list")
    assert not at.sandbox.slack.deliveries.log


async def test_a_bot_that_is_late_is_told_as_slack_tells_it(at: Console) -> None:
    page = await at.open()
    await type_command(page, "/incident slow")
    await expect(page.locator("#main .ack")).to_have_text("waiting…")
    await expect(message(page, 'failed with the error "operation_timeout"')).to_be_visible()
    await expect(page.locator("#main .ack")).to_have_text("operation_timeout")


async def test_a_button_of_a_bot_that_is_gone_says_so_beside_it(at: Console) -> None:
    at.stage.post(approval_blocks())
    page = await at.open()
    at.sandbox.slack.bot_url = "http://127.0.0.1:9"
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator(".acting-error")).to_contain_text("The app could not be reached")


async def test_somebody_else_approves_after_the_person_is_switched(at: Console) -> None:
    posted = at.stage.post(every_block(at.stage.chart().id))
    page = await at.open()
    await page.get_by_role("button", name="Switch person: you are Ana Torres now").click()
    await page.get_by_role("menuitem", name=re.compile("^Bruno Díaz")).click()
    await expect(page.get_by_role("button", name="Switch person: you are Bruno Díaz now")).to_be_visible()
    await page.get_by_role("button", name="Approve").click()
    await expect(message(page, "Approved by @Bruno Díaz")).to_be_visible()
    await expect(message(page, "Approved by")).to_contain_text("(edited)")
    assert at.bot.pressed == [("bruno", "approve", "run-1")]
    assert at.sandbox.slack.message("tamv-incidents", posted.ts).edited
    assert "as=bruno" in page.url


async def test_a_dangerous_button_asks_first(at: Console) -> None:
    at.stage.post(approval_blocks())
    page = await at.open()
    question = page.get_by_role("dialog", name="Reject the rollback?")
    for answer, pressed in (("Go back", []), ("Reject", [("ana", "reject", "run-1")])):
        await page.locator("article").get_by_role("button", name="Reject").click()
        await expect(question).to_contain_text("The run stops here.")
        await question.get_by_role("button", name=answer).click()
        await expect(question).to_have_count(0)
        await at.sees(lambda pressed=pressed: at.bot.pressed == pressed)  # type: ignore[misc]


async def test_what_is_chosen_in_a_message_reaches_the_bot(at: Console) -> None:
    at.stage.post(approval_blocks())
    page = await at.open()
    await page.get_by_role("combobox", name="Severity").select_option("Sev2")
    await page.get_by_role("combobox", name="Commander").select_option("Carla Méndez")
    await page.get_by_role("button", name="Options").click()
    await page.get_by_role("menuitem", name="Escalate").click()
    expected = {("ana", "severity", "sev2"), ("ana", "commander", "U0CARLA003"), ("ana", "more", "escalate")}
    await at.sees(lambda: set(at.bot.pressed) == expected)
    await page.reload()
    await expect(page.get_by_role("combobox", name="Severity")).to_have_value("sev2")


async def test_a_button_with_an_address_opens_it_and_tells_the_bot(at: Console) -> None:
    at.stage.post(approval_blocks())
    page = await at.open()
    await page.context.route("https://grafana.example/**", lambda route: route.fulfill(body="Grafana"))
    async with page.context.expect_page() as opened:
        await page.get_by_role("button", name="Grafana").click()
    assert (await opened.value).url == "https://grafana.example/d/render"
    await at.sees(lambda: at.bot.pressed == [("ana", "grafana", None)])


async def test_a_button_with_the_address_of_a_message_leads_to_its_thread(at: Console) -> None:
    first = at.stage.post(text="The report").ts
    address = f"https://tamv.slack.com/archives/C0INCIDENT/p{first.replace('.', '')}?thread_ts={first}&cid=C0INCIDENT"
    read = {"type": "button", "action_id": "read", "text": {"type": "plain_text", "text": "Read"}, "url": address}
    at.stage.post([{"type": "actions", "block_id": "report", "elements": [read]}])
    page = await at.open()
    await page.get_by_role("button", name="Read").click()
    await expect(page.get_by_role("log", name="Messages of the thread")).to_contain_text("The report")
    await at.sees(lambda: at.bot.pressed == [("ana", "read", None)])
    assert len(page.context.pages) == 1


async def test_a_form_shows_what_is_wrong_and_then_sends_all_that_was_filled_in(at: Console) -> None:
    page = await at.open()
    form = await form_of(page)
    send = form.get_by_role("button", name="Declare")
    await send.click()
    await expect(form.locator(".input-error")).to_have_count(2)
    title = form.get_by_label("Title")
    await expect(title).to_be_focused()
    await expect(title).to_have_attribute("aria-invalid", "true")
    await expect(title).to_have_accessible_description("Please complete this required field. What do people notice?")
    assert not at.bot.submitted

    await title.fill("wrong")
    await form.get_by_label("What is known").fill("line 1\nline 2")
    await form.get_by_label("Severity").select_option("Sev2")
    services = form.get_by_role("combobox", name="Services")
    await services.fill("xr")
    await services.press("ArrowDown")
    await services.press("Enter")
    await services.fill("isa")
    await page.get_by_role("option", name="Isabella-ai").click()
    await form.get_by_label("Commander").select_option("Bruno Díaz")
    await form.get_by_label("Drill").check()
    await form.get_by_label("Product").check()
    await form.get_by_label("Due").fill("2026-12-24")
    await form.get_by_label("Users affected").fill("1200")
    await picture(page, "form")
    await send.click()
    await expect(form.locator(".input-error")).to_have_text(["This title is taken."])
    await expect(form.get_by_label("What is known")).to_have_value("line 1\nline 2")
    await expect(form.locator(".chip")).to_have_text(["Xr-engine", "Isabella-ai"])

    await title.fill("xr-engine is slow")
    await send.click()
    await expect(form).to_have_count(0)
    state = {block: values[block] for block, values in at.bot.submitted[-1].items()}
    assert state["title"]["value"] == "xr-engine is slow"
    assert state["text"]["value"] == "line 1\nline 2"
    assert state["severity"]["selected_option"]["value"] == "sev2"
    assert [option["value"] for option in state["services"]["selected_options"]] == ["xr-engine", "isabella-ai"]
    assert state["commander"]["selected_user"] == "U0BRUNO002"
    assert state["kind"]["selected_option"]["value"] == "drill"
    assert [option["value"] for option in state["tell"]["selected_options"]] == ["product"]
    assert state["due"]["selected_date"] == "2026-12-24"
    assert state["users"]["value"] == "1200"


async def test_a_form_that_is_closed_tells_the_bot_and_one_on_top_leads_back(at: Console) -> None:
    page = await at.open()
    form = await form_of(page)
    await form.get_by_label("Title").fill("more")
    await form.get_by_label("Severity").select_option("Sev1")
    await form.get_by_role("button", name="Declare").click()
    second = page.get_by_role("dialog", name="One more thing")
    await second.get_by_role("button", name="Back").click()
    await expect(form.get_by_label("Title")).to_have_value("more")
    await expect(form.get_by_label("Severity")).to_have_value("sev1")
    await page.keyboard.press("Escape")
    await expect(form).to_have_count(0)
    await at.sees(lambda: at.bot.closed == ["U0ANA00001"])


async def test_reactions_are_added_and_taken_away(at: Console) -> None:
    posted = at.stage.post(text="look at this")
    page = await at.open()
    line = message(page, "look at this")
    await line.hover()
    await line.get_by_role("button", name="Add 📌").click()
    chip = line.get_by_role("button", name="pushpin: 1. Ana Torres")
    await expect(chip).to_have_attribute("aria-pressed", "true")
    await Person(at.sandbox.slack, "bruno").react(posted, "pushpin")
    await expect(chip).to_have_count(0)
    await line.get_by_role("button", name="pushpin: 2.").click()
    await expect(line.get_by_role("button", name="pushpin: 1. Bruno Díaz")).to_have_attribute("aria-pressed", "false")
    await line.hover()
    await line.get_by_role("button", name="Add a reaction").click()
    await page.get_by_role("menuitem", name="React with eyes").click()
    await expect(line.get_by_role("button", name="eyes: 1. Ana Torres")).to_be_visible()


@pytest.mark.parametrize("size", [(1440, 900), PHONE])
async def test_the_shortcuts_of_the_manifest_are_offered(at: Console, size: tuple[int, int]) -> None:
    posted = at.stage.post(text="the 9:58 deploy")
    page = await at.open(size=size)
    line = message(page, "the 9:58 deploy")
    await line.hover()
    await line.get_by_role("button", name="More actions").click()
    await picture(page, f"more-{size[0]}")
    await page.get_by_role("menuitem", name=re.compile("^Add to timeline")).click()
    form = page.get_by_role("dialog")
    await expect(form).to_be_visible()
    await form.get_by_role("button", name="Cancel").click()
    await expect(form).to_have_count(0)
    await page.locator(".composer").get_by_role("button", name="Shortcuts").click()
    await page.get_by_role("menuitem", name=re.compile("^Declare incident")).click()
    await expect(form).to_be_visible()
    assert at.bot.shortcuts == [("ana", "add_to_timeline", posted.ts), ("ana", "declare_incident", None)]


async def test_the_home_of_the_app_is_drawn_for_the_person_and_its_buttons_work(at: Console) -> None:
    page = await at.open("app")
    home = page.locator(".app-home")
    await expect(home.get_by_role("heading", name="Open incidents")).to_be_visible()
    await home.get_by_role("button", name="Open").click()
    await at.sees(lambda: at.bot.pressed == [("ana", "open", "INC-2026-0007")])
    direct = at.sandbox.slack.open_im(at.sandbox.slack.user("ana"))
    at.stage.post(text="a word to you", channel=direct)
    await page.get_by_role("link", name="Messages").click()
    await expect(page.get_by_text("a word to you")).to_be_visible()


async def test_somebody_who_is_not_a_member_sees_the_channel_and_joins(at: Console) -> None:
    channel = await at.stage.incident()
    page = await at.open(channel.id, who="diego")
    await expect(page.get_by_text("without being a member")).to_be_visible()
    await page.get_by_role("button", name="Join the channel").click()
    await expect(page.locator("#main .composer-text")).to_be_visible()
    assert at.sandbox.slack.user("diego").id in channel.members
    channel.is_archived = True
    at.sandbox.slack.changed()
    await expect(page.get_by_text("This channel is archived")).to_be_visible()


async def test_the_strip_starts_the_incident_and_recovers(at: Console) -> None:
    page = await at.open()
    figures = page.locator(".figure")
    await expect(figures).to_have_count(4)
    await expect(page.locator(".figure.bad")).to_have_count(0)
    await expect(figures.first.locator("path")).to_have_attribute("d", re.compile(r"^M[\d. L]+$"))
    await page.get_by_label("Speed").select_option("60×")
    await page.get_by_role("button", name="Start an incident").click()
    await expect(page.get_by_role("button", name="Recover")).to_be_visible()
    await expect(page.locator(".figure.bad").first).to_be_visible(timeout=30_000)
    await page.get_by_role("button", name="Recover").click()
    await expect(page.get_by_role("button", name="Start an incident")).to_be_visible()


async def test_the_page_can_be_used_with_the_keyboard_alone(at: Console) -> None:
    at.stage.post(approval_blocks())
    page = await at.open()
    await expect(page.locator("#main .composer-text")).to_be_focused()
    for _ in range(30):
        await page.keyboard.press("Shift+Tab")
        if await page.evaluate("document.activeElement.dataset.action === 'approve'"):
            break
    await page.keyboard.press("Enter")
    await at.sees(lambda: at.bot.pressed == [("ana", "approve", "run-1")])


async def test_everything_that_is_pressed_or_filled_in_has_a_name(at: Console) -> None:
    at.stage.post(every_block(at.stage.chart().id))
    channel = await at.stage.incident()
    for place in ("C0INCIDENT", channel.id, "app", "form"):
        page = await at.open("C0INCIDENT" if place == "form" else place)
        if place == "form":
            await form_of(page)
        await expect(page.locator("article, .app-home .block").first).to_be_visible()
        for role in (
            "button",
            "link",
            "combobox",
            "textbox",
            "checkbox",
            "radio",
            "dialog",
            "log",
            "navigation",
            "spinbutton",
        ):
            for node in await page.get_by_role(role).all():
                await expect(node).to_have_accessible_name(re.compile(r"\S"))
        unnamed = await page.locator("img:not([alt])").count()
        doubled = await page.evaluate(
            "[...document.querySelectorAll('[id]')].map((n) => n.id).filter((id, at, all) => all.indexOf(id) !== at)"
        )
        assert (unnamed, doubled) == (0, [])


async def test_the_page_says_when_the_sandbox_is_gone(at: Console) -> None:
    page = await at.open()
    await page.context.set_offline(True)
    await type_command(page, "/incident status")
    await expect(page.get_by_text("No connection to the sandbox.")).to_be_visible()
    await expect(page.locator("#main .composer-text")).to_have_value("/incident status")
    at.problems.clear()  # the browser tells of each request that failed

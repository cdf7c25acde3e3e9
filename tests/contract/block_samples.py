"""Blocks and views that Slack refuses, each for one reason. Made for this suite; the reason is the key."""

from typing import Any

JSON = dict[str, Any]


def plain(text: str = "Words", **more: Any) -> JSON:
    return {"type": "plain_text", "text": text, **more}


def mrkdwn(text: str = "*Words*", **more: Any) -> JSON:
    return {"type": "mrkdwn", "text": text, **more}


def section(**more: Any) -> JSON:
    return {"type": "section", "text": mrkdwn(), **more}


def button(action_id: str = "go", **more: Any) -> JSON:
    return {"type": "button", "text": plain("Go"), "action_id": action_id, **more}


def actions(*elements: JSON) -> JSON:
    return {"type": "actions", "elements": list(elements or (button(),))}


def options(count: int) -> list[JSON]:
    return [{"text": plain(f"Option {number}"), "value": str(number)} for number in range(count)]


def select(**more: Any) -> JSON:
    return {"type": "static_select", "action_id": "pick", "options": options(2), **more}


def text_input(**more: Any) -> JSON:
    return {"type": "plain_text_input", "action_id": "title", **more}


def field(element: JSON | None = None, **more: Any) -> JSON:
    return {"type": "input", "label": plain("Title"), "element": element or text_input(), **more}


def modal(*blocks: JSON, **more: Any) -> JSON:
    view = {"type": "modal", "title": plain("A form"), "submit": plain("Send"), "blocks": list(blocks or (field(),))}
    return {key: value for key, value in {**view, **more}.items() if value is not None}


BAD_BLOCKS: dict[str, list[JSON]] = {
    "an unknown type": [{"type": "sectoin", "text": mrkdwn()}],
    "no type": [{"text": mrkdwn()}],
    "an unknown key": [section(color="red")],
    "51 blocks": [{"type": "divider"}] * 51,
    "an empty header": [{"type": "header", "text": plain("")}],
    "a header of 151 characters": [{"type": "header", "text": plain("x" * 151)}],
    "a header in mrkdwn": [{"type": "header", "text": mrkdwn()}],
    "a section without text and fields": [{"type": "section"}],
    "a section with an empty text": [section(text=mrkdwn(""))],
    "a section text of 3001 characters": [section(text=mrkdwn("x" * 3001))],
    "a text that is not an object": [section(text="words")],
    "a text of an unknown type": [section(text={"type": "markdown", "text": "x"})],
    "emoji in mrkdwn": [section(text=mrkdwn(emoji=True))],
    "11 fields": [{"type": "section", "fields": [mrkdwn()] * 11}],
    "no fields": [{"type": "section", "fields": []}],
    "a field of 2001 characters": [{"type": "section", "fields": [mrkdwn("x" * 2001)]}],
    "a divider with text": [{"type": "divider", "text": plain()}],
    "an empty context": [{"type": "context", "elements": []}],
    "11 context elements": [{"type": "context", "elements": [mrkdwn()] * 11}],
    "a button in a context": [{"type": "context", "elements": [button()]}],
    "empty actions": [{"type": "actions", "elements": []}],
    "26 actions": [actions(*(button(f"b{number}") for number in range(26)))],
    "an image among actions": [actions({"type": "image", "image_url": "https://x.test/a.png", "alt_text": "a"})],
    "a button without text": [actions({"type": "button", "action_id": "go"})],
    "a button text of 76 characters": [actions(button(text=plain("x" * 76)))],
    "a button in mrkdwn": [actions(button(text=mrkdwn()))],
    "a button value of 2001 characters": [actions(button(value="x" * 2001))],
    "a button value that is a number": [actions(button(value=7))],
    "a button of an unknown style": [actions(button(style="default"))],
    "an action_id of 256 characters": [actions(button("x" * 256))],
    "a repeated action_id in one block": [actions(button(), button())],
    "a block_id of 256 characters": [section(block_id="x" * 256)],
    "a repeated block_id": [section(block_id="a"), section(block_id="a")],
    "a confirm title of 101 characters": [actions(button(confirm={"title": plain("x" * 101), "text": plain()}))],
    "a confirm text of 301 characters": [actions(button(confirm={"text": plain("x" * 301)}))],
    "a confirm button of 31 characters": [actions(button(confirm={"text": plain(), "confirm": plain("x" * 31)}))],
    "a select without options": [actions({"type": "static_select", "action_id": "pick"})],
    "a select with no options": [actions(select(options=[]))],
    "101 options": [actions(select(options=options(101)))],
    "options and option_groups": [actions(select(option_groups=[{"label": plain(), "options": options(1)}]))],
    "an option without text": [actions(select(options=[{"value": "a"}]))],
    "an option text of 76 characters": [actions(select(options=[{"text": plain("x" * 76), "value": "a"}]))],
    "an option value of 151 characters": [actions(select(options=[{"text": plain(), "value": "x" * 151}]))],
    "an initial option that is not offered": [actions(select(initial_option={"text": plain("No"), "value": "no"}))],
    "a placeholder of 151 characters": [actions(select(placeholder=plain("x" * 151)))],
    "an overflow menu of one": [actions({"type": "overflow", "action_id": "more", "options": options(1)})],
    "an overflow menu of six": [actions({"type": "overflow", "action_id": "more", "options": options(6)})],
    "11 checkboxes": [actions({"type": "checkboxes", "action_id": "boxes", "options": options(11)})],
    "11 radio buttons": [actions({"type": "radio_buttons", "action_id": "radio", "options": options(11)})],
    "a date that is none": [actions({"type": "datepicker", "action_id": "day", "initial_date": "1 May"})],
    "an image without alt_text": [{"type": "image", "image_url": "https://x.test/a.png"}],
    "an image without a source": [{"type": "image", "alt_text": "a"}],
    "an image URL of 3001 characters": [
        {"type": "image", "alt_text": "a", "image_url": "https://x.test/" + "x" * 2986}
    ],
    "an input without a label": [{"type": "input", "element": text_input()}],
    "an input without an element": [{"type": "input", "label": plain()}],
    "an input label in mrkdwn": [field(label=mrkdwn())],
    "an input label of 2001 characters": [field(label=plain("x" * 2001))],
    "a button as an input": [field(button())],
    "a minimum above the maximum": [field(text_input(min_length=9, max_length=3))],
    "a maximum of 3001": [field(text_input(max_length=3001))],
    "a number input that does not say if decimal": [field({"type": "number_input", "action_id": "n"})],
    "a markdown block of 12001 characters": [{"type": "markdown", "text": "x" * 12_001}],
    "a table of 101 rows": [{"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]] * 101}],
    "two fields with the focus": [
        field(text_input(focus_on_load=True)),
        field(text_input(action_id="other", focus_on_load=True)),
    ],
}

BAD_VIEWS: dict[str, JSON] = {
    "an unknown type": modal(type="dialog"),
    "a modal without a title": modal(title=None),
    "a modal title of 25 characters": modal(title=plain("x" * 25)),
    "a modal title in mrkdwn": modal(title=mrkdwn()),
    "a submit of 25 characters": modal(submit=plain("x" * 25)),
    "a close of 25 characters": modal(close=plain("x" * 25)),
    "an input and no submit": modal(submit=None),
    "101 blocks": modal(*[{"type": "divider"}] * 101),
    "no blocks at all": modal(blocks=None),
    "private_metadata of 3001 characters": modal(private_metadata="x" * 3001),
    "private_metadata that is an object": modal(private_metadata={"id": 1}),
    "a callback_id of 256 characters": modal(callback_id="x" * 256),
    "an unknown key": modal(color="red"),
    "an App Home with a title": {"type": "home", "title": plain(), "blocks": [section()]},
    "a bad block": modal({"type": "header", "text": plain("")}),
    "a file block": modal({"type": "file", "external_id": "a", "source": "remote"}),
}

"""Views of the test bot: a form with every kind of field, one that lies on top of it, an App Home."""

from __future__ import annotations

from typing import Any

Block = dict[str, Any]


def plain(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": True}


def options(*names: str) -> list[Block]:
    return [{"text": plain(name.capitalize()), "value": name} for name in names]


def field(name: str, kind: str, label: str, *, optional: bool = True, hint: str | None = None, **more: Any) -> Block:
    block: Block = {
        "type": "input",
        "block_id": name,
        "label": plain(label),
        "optional": optional,
        "element": {"type": kind, "action_id": name, **more},
    }
    return block | ({"hint": plain(hint)} if hint else {})


FORM: Block = {
    "type": "modal",
    "callback_id": "form",
    "notify_on_close": True,
    "title": plain("Declare an incident"),
    "submit": plain("Declare"),
    "close": plain("Cancel"),
    "blocks": [
        {"type": "section", "text": {"type": "mrkdwn", "text": "It opens a channel and *pages* the team."}},
        field("title", "plain_text_input", "Title", optional=False, max_length=200, hint="What do people notice?"),
        field("text", "plain_text_input", "What is known", multiline=True),
        field("severity", "static_select", "Severity", optional=False, options=options("sev1", "sev2", "sev3")),
        field("services", "multi_static_select", "Services", options=options("xr-engine", "tamv-core", "isabella-ai")),
        field("commander", "users_select", "Commander"),
        field("kind", "radio_buttons", "Kind", options=options("real", "drill"), initial_option=options("real")[0]),
        field("tell", "checkboxes", "Tell", options=options("support", "product")),
        field("due", "datepicker", "Due", initial_date="2026-12-01"),
        field("users", "number_input", "Users affected", is_decimal_allowed=False, min_value="0"),
    ],
}

SECOND: Block = {
    "type": "modal",
    "callback_id": "second",
    "title": plain("One more thing"),
    "submit": plain("Done"),
    "blocks": [field("reason", "plain_text_input", "Reason")],
}

HOME: Block = {
    "type": "home",
    "blocks": [
        {"type": "header", "text": plain("Open incidents")},
        {
            "type": "section",
            "text": {"type": "mrkdwn", "text": "*INC-2026-0007* SEV2 · xr-engine is slow · <#C0INCIDENT>"},
            "accessory": {"type": "button", "action_id": "open", "text": plain("Open"), "value": "INC-2026-0007"},
        },
        {"type": "divider"},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "Nothing waits for you. :tada:"}]},
    ],
}

CONFIRMED: Block = {"type": "header", "text": plain("Rollback of xr-engine")}

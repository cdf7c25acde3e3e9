"""Block Kit's blocks as tables: what each may hold, where it may stand, with Slack's documented limits.

https://docs.slack.dev/reference/block-kit/blocks. Blocks that this project has no use for (card, carousel, plan, …)
are not listed and therefore refused as unsupported.
"""

from __future__ import annotations

from sandbox.slack.block_elements import ELEMENTS, IMAGE, TYPE, Checks, any_text, text
from sandbox.slack.checks import Problems, Shape, anything, array, boolean, choice, report, string, typed
from sandbox.slack.state import JSON

PICKERS = (
    "checkboxes",
    "radio_buttons",
    "datepicker",
    "timepicker",
    *(
        f"{many}{kind}_select"
        for many in ("", "multi_")
        for kind in ("static", "external", "users", "channels", "conversations")
    ),
)
IN_SECTION = ("button", "overflow", "image", *PICKERS)
IN_ACTIONS = ("button", "overflow", "datetimepicker", "rich_text_input", *PICKERS)
IN_INPUT = (
    "plain_text_input",
    "email_text_input",
    "url_text_input",
    "number_input",
    "rich_text_input",
    "file_input",
    "datetimepicker",
    *PICKERS,
)
TEXTS = {
    kind: Shape({**TYPE, "text": string(3000)}, {extra: boolean})
    for kind, extra in (("plain_text", "emoji"), ("mrkdwn", "verbatim"))
}
RICH = typed(
    {
        kind: Shape({**TYPE, "elements": array(anything, 0, 1000)}, dict.fromkeys(keys, anything))
        for kind, keys in {
            "rich_text_section": (),
            "rich_text_list": ("style", "indent", "offset", "border"),
            "rich_text_preformatted": ("border", "language"),
            "rich_text_quote": ("border",),
        }.items()
    }
)
CELL = typed(
    {
        "raw_text": Shape({**TYPE, "text": string(3000)}),
        "rich_text": Shape({**TYPE, "elements": array(RICH, 1, 100)}, {"block_id": string(255)}),
    }
)

# blocks

BLOCK: Checks = {"block_id": string(255)}


def _section_says_something(block: JSON, path: str, problems: Problems) -> None:
    if block.get("text") is None and block.get("fields") is None:
        report(problems, "must provide text or fields", path)


BLOCKS: dict[str, Shape] = {
    "actions": Shape({**TYPE, "elements": array(typed(ELEMENTS, *IN_ACTIONS), 1, 25)}, BLOCK),
    "context": Shape({**TYPE, "elements": array(typed({**TEXTS, "image": ELEMENTS["image"]}), 1, 10)}, BLOCK),
    "divider": Shape(TYPE, BLOCK),
    "file": Shape({**TYPE, "external_id": string(255), "source": choice("remote")}, BLOCK),
    "header": Shape({**TYPE, "text": text(150)}, BLOCK),
    "image": Shape(
        {**TYPE, "alt_text": string(2000)},
        {**BLOCK, **IMAGE, "title": text(2000)},
        one_of=("image_url", "slack_file"),
    ),
    "input": Shape(
        {**TYPE, "label": text(2000), "element": typed(ELEMENTS, *IN_INPUT)},
        {**BLOCK, "hint": text(2000), "optional": boolean, "dispatch_action": boolean},
    ),
    "markdown": Shape({**TYPE, "text": string(12_000)}, BLOCK),
    "rich_text": Shape({**TYPE, "elements": array(RICH, 1, 1000)}, BLOCK),
    "section": Shape(
        TYPE,
        {
            **BLOCK,
            "text": any_text(3000),
            "fields": array(any_text(2000), 1, 10),
            "accessory": typed(ELEMENTS, *IN_SECTION),
            "expand": boolean,
        },
        rules=(_section_says_something,),
    ),
    "table": Shape(
        {**TYPE, "rows": array(array(CELL, 1, 20), 1, 100)},
        {**BLOCK, "column_settings": array(anything, 0, 20)},
    ),
}

ON_SURFACE = {
    "message": tuple(BLOCKS),
    "modal": tuple(kind for kind in BLOCKS if kind not in ("file", "markdown", "table")),
    "home": tuple(kind for kind in BLOCKS if kind not in ("file", "markdown", "table")),
}

"""mrkdwn and Markdown as the page gets them."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.console.text import parse_markdown, parse_mrkdwn


def elements(text: str, **how: bool) -> list[dict[str, Any]]:
    """The elements of a text that is one section."""
    (section,) = parse_mrkdwn(text, **how)
    assert section["type"] == "rich_text_section"
    return list(section["elements"])


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("text", "style"),
    [("*a b*", {"bold": True}), ("_a b_", {"italic": True}), ("~a b~", {"strike": True}), ("`a b`", {"code": True})],
)
def test_a_mark_around_words_is_a_style(text: str, style: dict[str, bool]) -> None:
    assert elements(text) == [words("a b") | {"style": style}]


@pytest.mark.parametrize(
    "text", ["2 * 3 * 4", "snake_case_name", "a*b*c", "* a*", "*a *", "~ a ~", "`", "**", "*a\nb*", "1.0-rc~2~x"]
)
def test_marks_that_stand_elsewhere_are_shown_as_typed(text: str) -> None:
    assert elements(text) == [words(text)]


def test_styles_lie_within_each_other_and_code_holds_none() -> None:
    assert elements("*a _b_* `*c*`") == [
        words("a ") | {"style": {"bold": True}},
        words("b") | {"style": {"bold": True, "italic": True}},
        words(" "),
        words("*c*") | {"style": {"code": True}},
    ]


def test_references_are_elements() -> None:
    text = "<@U1|ana> <#C1|general> <!subteam^S1|@sre> <!here> <https://x.org/?a=1&amp;b=2|a *b*> <mailto:a@x.org>"
    assert [element for element in elements(text) if element != words(" ")] == [
        {"type": "user", "user_id": "U1"},
        {"type": "channel", "channel_id": "C1", "label": "general"},
        {"type": "usergroup", "usergroup_id": "S1"},
        {"type": "broadcast", "range": "here"},
        {"type": "link", "url": "https://x.org/?a=1&b=2", "text": "a *b*"},
        {"type": "link", "url": "mailto:a@x.org"},
    ]


def test_a_date_keeps_its_moment_format_and_fallback() -> None:
    assert elements("<!date^1700000000^{date_short} at {time}^https://x.org|2023-11-14>") == [
        {
            "type": "date",
            "timestamp": 1700000000,
            "format": "{date_short} at {time}",
            "fallback": "2023-11-14",
            "url": "https://x.org",
        }
    ]


@pytest.mark.parametrize("target", ["javascript:alert(1)", "data:text/html,x", "//x.org", "file:///etc/passwd", "x"])
def test_only_addresses_of_the_web_mail_and_telephone_are_links(target: str) -> None:
    assert elements(f"<{target}|click>") == [words(f"<{target}|click>")]


def test_entities_are_the_characters_and_never_markup() -> None:
    assert elements("&lt;@U1&gt; &lt;b&gt; &amp;lt;") == [words("<@U1> <b> &lt;")]


def test_bare_addresses_and_broadcasts_are_parsed_unless_verbatim() -> None:
    text = "see https://x.org/a. @here"
    assert [element["type"] for element in elements(text)] == ["text", "link", "text", "broadcast"]
    assert elements(text, verbatim=True) == [words(text)]


def test_quotes_and_code_are_parts_of_their_own() -> None:
    assert [
        (part["type"], part["elements"][0]["text"])
        for part in parse_mrkdwn("a\n&gt; b\n> c\nd\n```e *f*\n&lt;g&gt;```\nh\n>>> i\nj")
    ] == [
        ("rich_text_section", "a"),
        ("rich_text_quote", "b\nc"),
        ("rich_text_section", "d"),
        ("rich_text_preformatted", "e *f*\n<g>"),
        ("rich_text_section", "h"),
        ("rich_text_quote", "i\nj"),
    ]


def test_an_emoji_is_an_element_but_a_time_is_not() -> None:
    assert elements(":tada: 10:02:30") == [{"type": "emoji", "name": "tada"}, words(" 10:02:30")]


def test_html_in_a_markdown_block_is_shown_and_in_a_document_left_out() -> None:
    text = 'a <img src=x onerror="alert(1)"> <a id="event-3"></a> b'
    assert "onerror" in parse_markdown(text)[0]["children"][0]["children"][0]["text"]
    kinds = [node["type"] for node in parse_markdown(text, document=True)[0]["children"][0]["children"]]
    assert kinds == ["text", "nothing", "text", "anchor", "nothing", "text"]


def test_a_table_keeps_its_alignment() -> None:
    (table,) = parse_markdown("|a|b|\n|---|--:|\n|1|2|")
    head = table["children"][0]["children"][0]["children"]
    assert [(cell["type"], cell.get("align")) for cell in head] == [("th", None), ("th", "right")]

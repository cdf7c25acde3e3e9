"""Whatever the code asks the templates for is there, in both languages."""

from __future__ import annotations

import ast
import re

import pytest
from jinja2 import Environment, nodes

from tests.architecture.test_templates import LANGUAGES, TEMPLATES, labels
from tests.architecture.tree import ROOT, calls, pattern, python, syntax

SPOKEN = ("bot", "handlers")


def _mistakes() -> set[str]:
    """BotError and every class that is made from it."""
    classes = [node for name in python(*SPOKEN) for node in ast.walk(syntax(name)) if isinstance(node, ast.ClassDef)]
    found = {"BotError"}
    while more := {c.name for c in classes if {getattr(base, "id", "") for base in c.bases} & found} - found:
        found |= more
    return found


def _raised() -> dict[str, str]:
    """The key (as a pattern) of every mistake that the code names, and where."""
    mistakes = _mistakes()
    keys: dict[str, str] = {}
    for place, called, call in calls(*SPOKEN):
        if called in mistakes and call.args and (key := pattern(call.args[0])):
            keys.setdefault(key, place)
    return keys


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_mistake_has_words(language: str) -> None:
    known = {key.removeprefix("errors.") for key in labels(language) if key.startswith("errors.")}
    silent = {key: place for key, place in _raised().items() if not any(re.fullmatch(key, one) for one in known)}
    assert not silent
    assert {"unknown", "unexpected"} <= known


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_label_that_the_code_names_is_there(language: str) -> None:
    known = labels(language)
    asked = {key: place for place, called, call in calls(*SPOKEN) if called == "label" for key in _keys(call)}
    assert asked
    assert not {key: place for key, place in asked.items() if not any(re.fullmatch(key, one) for one in known)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_label_that_a_template_names_is_there(language: str) -> None:
    known = labels(language)
    for template in TEMPLATES:
        tree = Environment().parse((ROOT / "templates" / language / template).read_text("utf-8"))  # noqa: S701
        for used in tree.find_all(nodes.Filter):
            if used.name == "label" and isinstance(used.node, nodes.Const):
                assert used.node.value in known, template


def test_every_message_that_the_code_says_has_a_template() -> None:
    said = {
        str(call.args[0].value): place
        for place, called, call in calls(*SPOKEN)
        if called in ("say", "part") and call.args and isinstance(call.args[0], ast.Constant)
    }
    assert said
    known = {re.sub(r"^(messages|reports)/|(\.md)?\.j2$", "", template) for template in TEMPLATES}
    assert not {name: place for name, place in said.items() if name not in known}


def _keys(call: ast.Call) -> list[str]:
    key = pattern(call.args[0]) if call.args else None
    return [key] if key else []

"""Every action is documented, has words in both languages and a test; what it changes outside is said in words."""

from __future__ import annotations

import ast

import pytest

from bot.actions.catalogue import ACTIONS
from bot.actions.document import render
from bot.actions.registry import Action
from bot.messages.translations import Translations, load_translations
from bot.names import FORMS
from tests.architecture.test_templates import LANGUAGES
from tests.architecture.tree import ROOT, calls

NAMES = [action.name for action in ACTIONS.all()]


def test_the_document_is_current() -> None:
    assert (ROOT / "docs/actions.md").read_text("utf-8") == render(ACTIONS), "run `make actions`"


@pytest.mark.parametrize("action", ACTIONS.all(), ids=NAMES)
def test_every_action_says_in_every_language_what_it_does(action: Action) -> None:
    summaries = [load_translations()[language].action(action.name, action.summary) for language in LANGUAGES]
    assert all(summaries) and len(set(summaries)) == len(summaries)


@pytest.mark.parametrize("action", ACTIONS.all(), ids=NAMES)
def test_no_person_is_shown_a_pattern(action: Action) -> None:
    schema = action.parameters.model_json_schema()
    kinds = [kind for one in schema["properties"].values() for kind in (one, *one.get("anyOf", ()))]
    assert {kind["pattern"] for kind in kinds if "pattern" in kind} <= set(FORMS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_effect_has_words_and_every_result_an_action(language: str) -> None:
    effects = {
        _key(str(call.args[0].value))
        for _, called, call in calls("bot")
        if called == "effect" and call.args and isinstance(call.args[0], ast.Constant)
    }
    assert effects
    words = Translations(language)
    assert effects - set(words.render("effects")) == set()
    assert set(words.render("results")) - {_key(name) for name in NAMES} == set()


def _key(name: str) -> str:
    return name.replace(".", "_")

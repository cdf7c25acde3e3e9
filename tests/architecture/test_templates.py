"""Spanish and English say the same: the same files, parts, labels and facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

from bot.domain.timeline import Kind
from tests.architecture.tree import ROOT, files

LANGUAGES = ("es", "en")
TEMPLATES = sorted({name.split("/", 2)[2] for name in files() if re.fullmatch(r"templates/(es|en)/.+\.j2", name)})


def test_both_languages_have_the_same_files() -> None:
    es, en = ({name.split("/", 2)[2] for name in files() if name.startswith(f"templates/{one}/")} for one in LANGUAGES)
    es.discard("actions.yaml")  # in English it is the docstrings that say what an action does
    assert es == en


def test_no_key_is_given_twice() -> None:
    """YAML takes the last one, and nobody sees that the first is gone."""
    yamls = [name for name in files() if name.endswith(".yaml") and not re.search("(chart|tamv-bot)/templates/", name)]
    twice = []
    for name in yamls:
        for document in yaml.compose_all((ROOT / name).read_text("utf-8"), yaml.CSafeLoader):
            twice += [f"{name}:{mark}" for mark in _repeated_keys(document)]
    assert twice == []


def _repeated_keys(node: yaml.Node | None) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f"{key.start_mark.line + 1} {key.value}"
            seen.add(str(key.value))
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def test_no_text_leaves_it_to_the_reader_whether_there_is_one_or_several() -> None:
    texts = {name: (ROOT / name).read_text("utf-8") for name in files() if name.startswith("templates/")}
    assert [name for name, text in texts.items() if re.search(r"\w\((?:s|es)\)(?! *}})", text)] == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_both_languages_have_the_same_parts_with_the_same_facts(template: str) -> None:
    es, en = (parts((ROOT / "templates" / language / template).read_text("utf-8")) for language in LANGUAGES)
    assert es == en


def test_both_languages_have_the_same_labels_with_the_same_facts() -> None:
    """The examples of help are in the code's language, and translated into the others."""
    es, en = (
        {
            key: _facts(Environment().parse(text))  # noqa: S701 - not HTML
            for key, text in labels(language).items()
            if not key.startswith("examples")
        }
        for language in LANGUAGES
    )
    assert es == en


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_label_is_empty(language: str) -> None:
    assert not [key for key, text in labels(language).items() if not text.strip()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_event_has_a_sentence(language: str) -> None:
    told = parts((ROOT / "templates" / language / "messages/timeline.j2").read_text("utf-8"))
    assert set(told) == {kind.value for kind in Kind}


def parts(source: str) -> dict[str, set[str]]:
    """The blocks of a template (the whole of it under an empty name when it has none), each with the facts it uses."""
    tree = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"]).parse(source)  # noqa: S701
    blocks = {block.name: _facts(block) for block in tree.find_all(nodes.Block)}
    return blocks or {"": _facts(tree)}


def _facts(tree: nodes.Node) -> set[str]:
    """`incident.title`, `facts.who`, …: what a template reads, without the names that it gives itself."""
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"} | {"loop"}
    dotted = {_dotted(node) for node in tree.find_all((nodes.Name, nodes.Getattr))} - {None}
    inner = {_dotted(node.node) for node in tree.find_all(nodes.Getattr)}
    return {fact for fact in dotted - inner if fact and fact.split(".")[0] not in own}


def _dotted(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr) and (before := _dotted(node.node)):
        return f"{before}.{node.attr}"
    return None


def labels(language: str) -> dict[str, str]:
    source = (ROOT / "templates" / language / "labels.yaml").read_text("utf-8")
    return dict(_leaves(yaml.safe_load(source)))


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, below in tree.items():
        if isinstance(below, Mapping):
            yield from _leaves(below, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(below)

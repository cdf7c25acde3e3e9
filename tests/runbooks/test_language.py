"""The language of runbooks: what is read, what is refused and how it is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from bot.actions.registry import Registry
from bot.domain.errors import BadInput, NotFound
from bot.domain.policy import Risk
from bot.runbooks import Expressions, Library, check, load
from bot.team import load_team
from tests.architecture.tree import ROOT

GOOD = """\
name: render-latency
title: {es: Latencia alta, en: High latency}
triggers:
  - alert: HighLatency
    labels: {service: xr-engine}
inputs:
  service: {type: service, default: "{{ incident.service }}"}
steps:
  - id: scale
    uses: things.scale
    with: {deployment: "{{ inputs.service }}", replicas: 10}
    verify: {board: render, within: 5m}
  - id: back
    if: "{{ not steps.scale.verified }}"
    uses: things.scale
    with: {deployment: "{{ inputs.service }}", replicas: "{{ steps.scale.before }}"}
    approval: {role: incident_commander, expires: 15m}
"""


@dataclass(frozen=True)
class Scaled:
    before: int
    after: int


@pytest.fixture
def registry() -> Registry:
    made = Registry()

    @made.action("things.scale", risk=Risk.CHANGE)
    async def scale(ctx: object, deployment: str, replicas: Annotated[int, Field(ge=0)]) -> Scaled:
        """Set how many there are."""
        return Scaled(3, replicas)

    @made.undo(scale)
    async def unscale(ctx: object, done: Scaled) -> Scaled:
        """Put the number back."""
        return Scaled(done.after, done.before)

    return made


def written(folder: Path, text: str, name: str = "render-latency") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_runbook_is_read_and_its_copy_reads_back(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path, GOOD)
    book = load(path)
    assert check(path, book, registry, load_team(ROOT / "teams/tamv/team.yaml")) == []
    assert type(book).model_validate(book.to_json()) == book
    assert book.steps[0].verify and book.steps[0].verify.within.total_seconds() == 300


@pytest.mark.parametrize(
    ("was", "then", "place", "said"),
    [
        (
            "things.scale\n    with: {deployment",
            "things.scales\n    with: {deployment",
            "10:5",
            "did you mean `things.scale`?",
        ),
        ("replicas: 10}", "replica: 10}", "11:48", "did you mean `replicas`?"),
        ("board: render,", "board: renders,", "12:5", "unknown board `renders`"),
        (
            '{{ inputs.service }}", replicas: 10',
            '{{ input.service }}", replicas: 10',
            "11:12",
            "did you mean `inputs`?",
        ),
        ("steps.scale.verified", "steps.scael.verified", "14:5", "step `scael` is not before this step"),
        ("{{ not steps", "{{ not not( steps", "14:5", "not an expression"),
    ],
)
def test_a_mistake_says_where_and_what_is_right(
    tmp_path: Path, registry: Registry, was: str, then: str, place: str, said: str
) -> None:
    assert was in GOOD
    path = written(tmp_path, GOOD.replace(was, then, 1))
    found = [str(each) for each in check(path, load(path), registry, load_team(ROOT / "teams/tamv/team.yaml"))]
    assert any(one.startswith(f"render-latency.yaml:{place}:") and said in one for one in found), found


def in_any_order(*steps: str) -> str:
    return GOOD[: GOOD.index("  - id: scale")] + "".join(steps)


SCALE = """\
  - id: scale
    uses: things.scale
    with: {deployment: "{{ inputs.service }}", replicas: 10}
    verify: {board: render, within: 5m}
    any-order: true
"""
BACK = """\
  - id: back
    uses: things.scale
    with: {deployment: "{{ inputs.service }}", replicas: 3}
    verify: {board: render, within: 5m}
    any-order: true
"""


def test_steps_in_any_order_are_interchangeable_and_one_can_be_put_first(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path, in_any_order(SCALE, BACK))
    book = load(path)
    assert check(path, book, registry, load_team(ROOT / "teams/tamv/team.yaml")) == []
    assert [step.id for step in book.interchangeable("scale")] == ["scale", "back"]
    assert [step.id for step in book.with_first("back").steps] == ["back", "scale"]


@pytest.mark.parametrize(
    ("steps", "place", "said"),
    [
        ((SCALE,), "13:5", "there is no step beside it in any order"),
        ((SCALE, BACK.replace("    verify: {board: render, within: 5m}\n", "")), "17:5", "add a `verify`"),
        (
            (SCALE, BACK.replace("replicas: 3", 'replicas: "{{ steps.scale.before }}"')),
            "16:48",
            "`scale` may come later",
        ),
    ],
)
def test_mistake_of_steps_in_any_order_says_where_and_what_is_right(
    tmp_path: Path, registry: Registry, steps: tuple[str, ...], place: str, said: str
) -> None:
    path = written(tmp_path, in_any_order(*steps))
    found = [str(each) for each in check(path, load(path), registry, load_team(ROOT / "teams/tamv/team.yaml"))]
    assert any(one.startswith(f"render-latency.yaml:{place}:") and said in one for one in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "render-latency.yaml:"),
        (GOOD.replace("id: back", "id: scale"), "two steps are called `scale`"),
        (GOOD.replace("within: 5m", "within: soon"), "12:"),
        (
            GOOD.replace("    uses: things.scale\n    with: {deployment", "    use: x.y\n    with: {deployment", 1),
            "steps.0.use",
        ),
        (GOOD.replace("name: render-latency", "name: other"), "differs from its file"),
    ],
)
def test_a_file_of_the_wrong_form_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput) as wrong:
        load(written(tmp_path, text))
    assert said in str(wrong.value.facts["mistakes"])


def test_all_mistakes_of_all_files_come_at_once(tmp_path: Path, registry: Registry) -> None:
    team = load_team(ROOT / "teams/tamv/team.yaml")
    written(tmp_path, GOOD.replace("board: render", "board: rendr"))
    written(tmp_path, "name: x", "x")
    with pytest.raises(BadInput) as wrong:
        Library.read(tmp_path, registry, team)
    assert {str(one).partition(":")[0] for one in wrong.value.facts["mistakes"]} == {"render-latency.yaml", "x.yaml"}  # type: ignore[attr-defined]


def test_an_alert_proposes_its_runbook(tmp_path: Path, registry: Registry) -> None:
    written(tmp_path, GOOD)
    library = Library.read(tmp_path, registry, load_team(ROOT / "teams/tamv/team.yaml"))
    assert [book.name for book in library.for_alert("HighLatency", {"service": "xr-engine", "a": "b"})] == [
        "render-latency"
    ]
    assert library.for_alert("HighLatency", {"service": "tamv-core"}) == []
    with pytest.raises(NotFound) as unknown:
        library.get("render-latenci")
    assert unknown.value.facts["nearest"] == "render-latency"


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{{ inputs.n }}", 10),
        ("{{ inputs.tag }}", "1.10"),
        ("v{{ inputs.tag }}-x", "v1.10-x"),
        ({"a": ["{{ inputs.n + 1 }}", True]}, {"a": [11, True]}),
        ("plain", "plain"),
    ],
)
def test_expressions_keep_their_types(value: Any, filled: Any) -> None:
    assert Expressions().render(value, {"inputs": {"n": 10, "tag": "1.10"}}) == filled


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ inputs.__init__.__globals__ }}",
        "{% for x in ().__class__.__mro__ %}{{ x }}{% endfor %}",
        "{{ inputs.clear() }}",
        "{{ nothing }}",
        "{{ range(10) }}",
        "{{ 1 / 0 }}",
        "{{ 'a' * inputs }}",
    ],
)
def test_nothing_leaves_the_sandbox(escape: str) -> None:
    with pytest.raises(BadInput):
        Expressions().render(escape, {"inputs": {"n": 1}})


def test_parameters_are_checked_by_the_functions_types(registry: Registry) -> None:
    scale = registry.get("things.scale")
    assert scale.read({"deployment": "x", "replicas": "10"}) == {"deployment": "x", "replicas": 10}
    for wrong, key in (
        ({"deployment": "x", "replicas": -1}, "wrong_parameter"),
        ({"deployment": "x"}, "parameter_missing"),
        ({"deployment": "x", "replicas": 1, "replica": 2}, "unknown_parameter"),
    ):
        with pytest.raises(BadInput) as refused:
            scale.read(wrong)
        assert refused.value.key == key
    assert scale.undo and scale.summary == "Set how many there are."
    assert scale.result.validate_python({"before": 1, "after": 2}) == Scaled(1, 2)


@pytest.mark.parametrize("name", ["values", "items", "keys", "get", "pop", "copy", "update", "title", "count", "class"])
def test_an_expression_sees_names_and_never_pythons_methods(name: str) -> None:
    expressions = Expressions()
    names: dict[str, Any] = {"inputs": {name: "mine"}, "steps": {name: {name: 3}}}
    assert expressions.render(f"{{{{ inputs.{name} }}}}", names) == "mine"
    assert expressions.render(f"{{{{ inputs['{name}'] }}}}", names) == "mine"
    assert expressions.render(f"{{{{ steps.{name}.{name} + 1 }}}}", names) == 4
    for reached in (f"inputs.{name}.upper()", "inputs.nothing", "inputs | attr('keys')", "''.join", "inputs.__len__"):
        with pytest.raises(BadInput):
            expressions.render(f"{{{{ {reached} }}}}", names)
    assert expressions.render("{% for a in 'xy' %}{{ loop.index }}{{ a | upper }}{% endfor %}", names) == "1X2Y"


@pytest.mark.parametrize(
    ("name", "said"),
    [("older-than", "`older_than`"), ("Tag", "`tag`"), ("environment", "run.environment"), ("dry_run", "option")],
)
def test_an_input_that_nobody_could_give_is_a_mistake(tmp_path: Path, registry: Registry, name: str, said: str) -> None:
    text = GOOD.replace("inputs:\n", f"inputs:\n  {name}: {{}}\n")
    path = written(tmp_path, text)
    (mistake,) = check(path, load(path), registry, load_team(ROOT / "teams/tamv/team.yaml"))
    assert (mistake.line, mistake.column) == (7, 3) and said in mistake.what

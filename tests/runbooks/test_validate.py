"""What is wrong with a runbook is said before it runs: where, what was expected, and the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BadInput
from bot.runbooks import Library, load
from bot.runbooks.check import queries
from bot.team import load_team
from tests.architecture.tree import ROOT

TEAM_FILE = ROOT / "teams/tamv/team.yaml"
TEAM = load_team(TEAM_FILE)
GOOD = """\
name: slow
title: {es: Lento, en: Slow}
triggers:
  - {alert: HighLatency, labels: {service: xr-engine}}
inputs:
  service: {type: service, default: "{{ incident.service }}"}
  replicas: {type: integer, required: true}
steps:
  - id: history
    uses: helm.history
    with: {release: "{{ inputs.service }}"}
  - id: scale
    title: {es: Escalar, en: Scale}
    uses: kubernetes.scale
    with: {deployment: "{{ inputs.service }}", replicas: 10}
    verify: {board: render, within: 5m}
  - id: back
    if: "{{ not steps.scale.verified }}"
    uses: helm.rollback
    with: {release: "{{ inputs.service }}", revision: "{{ steps.history.last_good }}"}
    approval: {role: incident_commander, expires: 15m}
  - id: watch
    uses: prometheus.watch
    with: {board: render, service: xr-engine, duration: 5m}
on-failure: stop
"""
OTHER = """\
name: other
title: {es: Otro, en: Other}
inputs:
  service: {type: service}
steps:
  - {id: a, uses: flow.wait, with: {duration: 1s}}
on-failure: stop
"""


def mistakes(folder: Path, **books: str) -> list[str]:
    """What is said of these runbooks (their files' names have a dash for an underscore)."""
    for name, text in books.items():
        (folder / f"{name.replace('_', '-')}.yaml").write_text(text, "utf-8")
    try:
        Library.read(folder, ACTIONS, TEAM)
    except BadInput as wrong:
        found = wrong.facts["mistakes"]
        assert isinstance(found, list)
        return found
    return []


def test_a_good_one_has_none(tmp_path: Path) -> None:
    assert mistakes(tmp_path, slow=GOOD, other=OTHER) == []
    assert mistakes(tmp_path, slow=GOOD.replace("on-failure: stop", "on-failure: other")) == []
    assert Library.read(tmp_path, ACTIONS, TEAM).resolve("slow").on_failure == load(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("was", "then", "where", "said"),
    [
        # names
        ("helm.history", "helm.histori", "10:5", "unknown action `helm.histori`; did you mean `helm.history`?"),
        ("with: {release", "with: {realease", "11:12", "helm.history has no `realease`; did you mean `release`?"),
        ("replicas: 10}", "namespace: tamv-prod}", "15:5", "kubernetes.scale requires `replicas`"),
        ("uses: helm.history", "use: helm.history", "10:5", "unknown field `use`; did you mean `uses`?"),
        ("role: incident_commander", "role: comander", "21:5", "did you mean `incident_commander`?"),
        ("verify: {board: render,", "verify: {board: rendr,", "16:5", "unknown board `rendr`; did you mean `render`?"),
        ("labels: {service: xr-engine}}", "labels: {service: xr-engin}}", "4:26", "did you mean `xr-engine`?"),
        # types
        ("replicas: 10}", "replicas: ten}", "15:48", "`replicas` must be a whole number"),
        ("replicas: 10}", "replicas: -1}", "15:48", "`replicas` must be 0 or more"),
        ("within: 5m", "within: soon", "16:29", "steps.1.verify.within: "),
        ("type: integer", "type: integr", "7:14", "'integer'"),
        ("{type: integer, required: true}", "{type: choice}", "7:3", "`options` go with the type `choice`"),
        # expressions
        ("{{ not steps", "{{ not not( steps", "18:5", "not an expression"),
        ("if: \"{{ not steps.scale", "if: \"{{ not step.scale", "18:5", "unknown name `step`; did you mean `steps`?"),
        ("steps.scale.verified", "steps.scael.verified", "18:5", "not before this step; did you mean `scale`"),
        ("steps.scale.verified", "steps.watch.seconds", "18:5", "step `watch` is not before this step"),
        ("steps.history.last_good", "steps.history.last_god", "20:45", "`last_god`; did you mean `last_good`?"),
        ("steps.history.last_good", "steps['history']['lastgood']", "20:45", "helm.history does not return `lastgood`"),
        ("\"{{ inputs.service }}\", replicas", "\"{{ inputs.servise }}\", replicas", "15:12", "you mean `service`?"),
        ("incident.service }}\"}\n  r", "incident.servcie }}\"}\n  r", "6:28", "did you mean `service`?"),
        ("incident.service }}\"}\n  r", "inputs.replicas }}\"}\n  r", "6:28", "only `incident` can be used here"),
        # steps that never run
        ("{{ not steps.scale.verified }}", "{{ 1 > 2 }}", "18:5", "this step is never reached"),
        ("{{ not steps.scale.verified }}", "{{ true }}", "18:5", "the condition is always true"),
        ("\"{{ not steps.scale.verified }}\"", "\"false\"", "18:5", "written as `{{ … }}`"),
        ("steps.scale.verified", "steps.history.verified", "18:5", "step `history` has no `verify`"),
        (
            "  - id: back",
            "  - {id: never, uses: flow.check, with: {that: false}}\n  - id: back",
            "18:5",
            "this step is never reached: step `never` always ends the run",
        ),
        # queries
        ("{board: render, service", "{board: 'rate(x[5m', service", "24:12", "valid PromQL"),
        ("{alert: HighLatency, labels: {service: xr-engine}}", "{query: latency_p96, for: 5m}", "4:6", "latency_p95"),
        ("service: xr-engine, duration", "service: xr-engien, duration", "24:27", "unknown service `xr-engien`"),
        # languages
        ("{es: Escalar, en: Scale}", "{es: Escalar}", "13:5", "the title of `scale` in `en` is missing"),
        ("{es: Lento, en: Slow}", "{es: Lento, en: \"\"}", "2:1", "the title in `en` is missing"),
        ("{es: Lento, en: Slow}", "{es: Lento, fr: Lent}", "13:5", "the title of `scale` in `fr` is missing"),
        # what follows a failure
        ("duration: 5m}\n", "duration: 5m}\n    keep: true\n", "25:5", "prometheus.watch cannot be undone"),
        ("on-failure: stop", "on-failure: othr", "25:1", "unknown runbook `othr`; did you mean `other`?"),
        ("on-failure: stop", "on-failure: slow", "25:1", "`on-failure` is circular: slow → slow → slow"),
        ("on-failure: stop", "on-failure: 5", "25:1", "must be a text"),
        # YAML
        ("on-failure: stop", "on-failure: stop\nname: slow", "26:1", "duplicate key `name`"),
        ("title: {es", "title: {{es", "3:1", "expected"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_and_what_is_right(tmp_path: Path, was: str, then: str, where: str, said: str) -> None:
    assert was in GOOD
    found = mistakes(tmp_path, slow=GOOD.replace(was, then, 1), other=OTHER)
    assert any(one.startswith(f"slow.yaml:{where}: ") and said in one for one in found), found


def test_what_follows_a_failure_gets_all_that_it_needs(tmp_path: Path) -> None:
    needy = OTHER.replace("inputs:", "inputs:\n  tag: {required: true}")
    found = mistakes(tmp_path, slow=GOOD.replace("on-failure: stop", "on-failure: other"), other=needy)
    assert found == ["slow.yaml:25:1: `other` requires the input `tag`, which this runbook does not have"]


def test_failures_that_lead_round_in_a_circle_are_found(tmp_path: Path) -> None:
    back = OTHER.replace("on-failure: stop", "on-failure: slow")
    found = mistakes(tmp_path, slow=GOOD.replace("on-failure: stop", "on-failure: other"), other=back)
    assert any("`on-failure` is circular: slow → other → slow" in one for one in found), found


def test_every_query_of_the_catalogue_is_parsed(tmp_path: Path) -> None:
    assert queries(TEAM_FILE, TEAM) == []
    raw = yaml.safe_load(TEAM_FILE.read_text("utf-8"))
    raw["queries"]["error_rate"]["promql"] = "rate(x[5m)"
    path = tmp_path / "team.yaml"
    path.write_text(yaml.safe_dump(raw), "utf-8")
    (wrong,) = queries(path, load_team(path))
    assert wrong.line > 1 and path.read_text("utf-8").splitlines()[wrong.line - 1].strip().startswith("promql: rate(x")


def test_the_alerts_that_trigger_are_those_that_are_defined() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/tamv.rules.yaml").read_text("utf-8"))
    defined = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    library = Library.read(ROOT / "teams/tamv/runbooks", ACTIONS, TEAM)
    asked = {trigger.alert for book in library.runbooks.values() for trigger in book.triggers if trigger.alert}
    assert asked and asked <= defined


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ("replicas: {type: string}", None),
        ("replicas: {type: number, required: true}", None),
        ("replicas: {type: boolean}", "expects the input `replicas` as boolean, but here it is integer"),
        (
            "replicas: {type: choice, options: ['1', '2']}",
            "expects the input `replicas` as 1 | 2, but",
        ),
        ("service: {type: choice, options: [xr-engine]}", "expects the input `service` as xr-engine"),
    ],
)
def test_the_inputs_of_a_runbook_for_a_failure_fit(tmp_path: Path, input: str, said: str | None) -> None:
    other = OTHER.replace("  service: {type: service}", f"  {input}")
    found = mistakes(tmp_path, slow=GOOD.replace("on-failure: stop", "on-failure: other"), other=other)
    assert [said in line for line in found] == [True] if said else found == []


def test_a_default_has_the_type_of_its_input(tmp_path: Path) -> None:
    wrong = GOOD.replace("replicas: {type: integer, required: true}", "replicas: {type: integer, default: many}")
    assert mistakes(tmp_path, slow=wrong) == ["slow.yaml:7:29: `many` is not valid: expected 1, 2, 3…"]

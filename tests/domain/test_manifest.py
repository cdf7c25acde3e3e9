"""A change as an edit of a manifest: only the values change, and what cannot be edited is not guessed."""

from __future__ import annotations

import pytest
import yaml

from bot.domain.manifest import builds_otherwise, edited, edited_values, fields_of

TEXT = """# ¡ojo! enough
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: prod
spec:
  replicas: 2  # a normal day
  template:
    spec:
      nodeSelector: {pool: a}
      containers:
        - name: proxy
          env: [{name: MODE, value: off}]
        - name: web
          env:
            - name: MODE
              value: "slow"  # until May
            - name: LEVEL
              value: info
"""


@pytest.mark.parametrize(
    ("effect", "facts", "before", "after"),
    [
        ("kubernetes.scale", {"replicas": 16}, "replicas: 2  # a", "replicas: 16  # a"),
        ("kubernetes.set_node_selector", {"selector": {"pool": "b"}}, "{pool: a}", "{pool: b}"),
        ("kubernetes.set_env", {"container": "web", "variables": {"MODE": "fast"}}, '"slow"  #', '"fast"  #'),
        ("kubernetes.set_env", {"container": "web", "variables": {"LEVEL": "debug"}}, "value: info", "value: debug"),
        ("kubernetes.set_env", {"container": "web", "variables": {"LEVEL": "true"}}, "value: info", 'value: "true"'),
        ("kubernetes.set_env", {"container": "web", "variables": {"LEVEL": "a # b"}}, "value: info", 'value: "a # b"'),
    ],
)
def test_only_the_value_changes(effect: str, facts: dict[str, object], before: str, after: str) -> None:
    fields = fields_of(effect, facts)
    assert fields
    changed = edited(TEXT, "Deployment", "web", "prod", fields)
    assert changed == TEXT.replace(before, after) != TEXT
    list(yaml.safe_load_all(changed))
    assert edited(changed, "Deployment", "web", "prod", fields) == changed, "once more changes nothing"


@pytest.mark.parametrize(
    ("text", "namespace", "variables"),
    [
        (TEXT, "prod", {"NEW": "1"}),  # is not there: where should it go?
        (TEXT, "staging", {"MODE": "fast"}),
        ("kind: Deployment\nmetadata: {name: {{ .Release.Name }}}\n", "prod", {"MODE": "fast"}),
        ("", "prod", {"MODE": "fast"}),
    ],
)
def test_what_is_not_plainly_there_is_not_guessed(text: str, namespace: str, variables: dict[str, str]) -> None:
    fields = fields_of("kubernetes.set_env", {"container": "web", "variables": variables})
    assert fields and edited(text, "Deployment", "web", namespace, fields) is None


def test_a_restart_and_a_removal_are_no_values() -> None:
    assert fields_of("kubernetes.restart", {}) is None
    assert fields_of("kubernetes.set_env", {"container": "web", "variables": {"MODE": None}}) is None


def test_the_values_of_a_chart_and_what_a_kustomization_does() -> None:
    assert edited_values("web:\n  replicas: 2 # two\n", "web.replicas", 5) == "web:\n  replicas: 5 # two\n"
    assert edited_values("web: {}\n", "web.replicas", 5) is None
    assert not builds_otherwise({"web.yaml": TEXT, "kustomization.yaml": "resources: [web.yaml]\n"})
    assert builds_otherwise({"kustomization.yaml": "resources: [web.yaml]\nreplicas: [{name: web, count: 3}]\n"})

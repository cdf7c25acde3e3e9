"""What an API server answers besides yes, and what the bot says then: who refuses, why, and what helps."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.domain.errors import BotError, NotFound, Refused, Unavailable
from bot.domain.run import StepRun
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.messages import results
from sandbox.faults import Kind as Fault
from sandbox.kubernetes.objects import deep_copy
from sandbox.kubernetes.resources.external_secrets import EXTERNAL_SECRET
from sandbox.server import Sandbox
from tests.harness.actor import Actor, in_cluster, parts

XR, PROD = "xr-engine", "tamv-prod"
WEBHOOK = "validate.kyverno.svc-fail"


@dataclass
class Place:
    sandbox: Sandbox
    actor: Actor
    kubernetes: Kubernetes


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        yield Place(sandbox, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes)), kubernetes)


def answer(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message, "details": details}  # fmt: skip


ENDS = {"reason": "NamespaceTerminating", "message": "namespace tamv-prod is being terminated", "field": "x"}


@pytest.mark.parametrize(
    ("body", "kind", "key", "said"),
    [
        (
            answer(403, "Forbidden", f'admission webhook "{WEBHOOK}" denied the request: \n\nno more than\n  8 pods\n'),
            Refused,
            "admission_denied",
            [WEBHOOK, "no more than 8 pods. "],
        ),
        (
            answer(
                422,
                "Invalid",
                f"deployments.apps \"{XR}\" is forbidden: ValidatingAdmissionPolicy 'sizes' with binding 'all' denied "
                "request: failed expression: object.spec.replicas <= 8",
            ),
            Refused,
            "admission_denied",
            ["`sizes`", "object.spec.replicas &lt;= 8"],
        ),
        (
            answer(
                500,
                "InternalError",
                f'Internal error occurred: failed calling webhook "{WEBHOOK}": failed to call webhook: Post '
                '"https://kyverno-svc.kyverno.svc:443/validate/fail?timeout=10s": context deadline exceeded',
            ),
            Unavailable,
            "webhook_silent",
            [WEBHOOK, "(context deadline exceeded)"],
        ),
        (
            answer(403, "Forbidden", "unable to create new content because it is being terminated", causes=[ENDS]),
            Refused,
            "namespace_ends",
            [XR],
        ),
        ("404 page not found\n", NotFound, "kubernetes_no_api", [XR]),
        (
            answer(404, "NotFound", "the server could not find the requested resource"),
            NotFound,
            "kubernetes_no_api",
            [XR],
        ),
    ],
)
async def test_who_refuses_and_why_is_said_in_one_sentence(
    place: Place, body: Any, kind: type[BotError], key: str, said: list[str]
) -> None:
    status = body["code"] if isinstance(body, dict) else 404
    fault: Fault = "error" if isinstance(body, dict) else "status"
    place.sandbox.faults.add("kubernetes", fault, "PATCH */scale", status=status, body=body)
    with pytest.raises(kind) as refused:
        await place.actor.rehearse("kubernetes.scale", deployment=XR, replicas=9)
    assert refused.value.key == key
    for words in place.actor.deps.words_by_locale.values():
        told = words.error(refused.value)
        assert "\n" not in told and all(part in told for part in said), told


async def test_an_api_server_that_is_busy_is_asked_again_when_it_says_so(place: Place) -> None:
    place.sandbox.faults.add("kubernetes", "ratelimit", "PATCH */scale", retry_after=7)
    with pytest.raises(Unavailable) as busy:
        await place.actor.rehearse("kubernetes.scale", deployment=XR, replicas=9)
    assert (busy.value.key, busy.value.retry_after) == ("kubernetes_busy", 7.0)


async def test_what_the_api_server_warns_of_is_part_of_what_is_approved(place: Place) -> None:
    kind, name = "networking.k8s.io/v1 NetworkPolicy", "closed"
    body = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
        "spec": {"podSelector": {}, "policyType": ["Ingress"]},
    }  # fmt: skip
    shown = await place.kubernetes.objects.apply(kind, name, PROD, body, dry_run=True)
    assert shown and shown.splitlines()[-1] == '!  unknown field "spec.policyType"'


PLUGIN = "#!/bin/sh\n{}\n"


@pytest.mark.parametrize(
    ("program", "fault", "said"),
    [
        ("echo 'no session: run sso login' >&2; exit 3", "plugin_failed", "no session: run sso login"),
        ("sleep 60", "plugin_slow", "get-token"),
        (None, "plugin_missing", "get-token"),
    ],
)
async def test_a_program_that_gets_no_token_is_named_and_keeps_nobody_waiting(
    place: Place, tmp_path: Path, program: str | None, fault: str, said: str
) -> None:
    path = tmp_path / "get-token"
    if program:
        path.write_text(PLUGIN.format(program))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    content = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path)}
    for user in content["users"]:
        user["user"] = {"exec": plugin}
    (tmp_path / "with-plugin").write_text(yaml.safe_dump(content))
    async with Kubernetes(str(tmp_path / "with-plugin")) as kubernetes:
        kubernetes.cluster.plugin_seconds = 1.0 if fault == "plugin_slow" else 20.0
        with pytest.raises(Refused) as refused:
            await kubernetes.pods.list(PROD)
    assert (refused.value.key, refused.value.facts["fault"]) == ("kubeconfig_wrong", fault)
    for words in place.actor.deps.words_by_locale.values():
        told = words.error(refused.value)
        assert said in told and "b'" not in told and "Errno" not in told, told


async def test_metrics_that_are_not_there_or_half_there_are_told_as_that(place: Place) -> None:
    faults = place.sandbox.faults
    faults.add("kubernetes", "status", "GET */metrics.k8s.io/*", status=404, body="404 page not found\n")
    with pytest.raises(NotFound) as absent:
        await place.actor.perform("kubernetes.top_pods")
    faults.add("kubernetes", "status", "GET */metrics.k8s.io/*", status=503, body="service unavailable\n")
    with pytest.raises(Unavailable) as silent:
        await place.actor.perform("kubernetes.top_nodes")
    for words in place.actor.deps.words_by_locale.values():
        assert "metrics-server" in words.error(absent.value) and "metrics-server" in words.error(silent.value)
    running = {pod.name for pod in await place.kubernetes.pods.list(PROD) if pod.phase == "Running"}
    half = min(running)
    measured = [
        {"metadata": {"name": "a"}, "containers": [{"name": "c", "usage": {"cpu": "250m"}}]},
        {"metadata": {"name": half}, "containers": [{"name": "c", "usage": {"cpu": "250m"}}, {"name": "new"}]},
    ]
    faults.add("kubernetes", "error", "GET */metrics.k8s.io/*", status=200, body={"items": measured})
    found = await place.actor.perform("kubernetes.top_pods", most=50)
    first, *others = [(row["name"], row["cpu"], row["memory"]) for row in found.rows]
    assert first == ("a", 0.25, None)
    assert others == [(name, None, None) for name in sorted(running)], "those that run and were not measured are named"
    step = StepRun("it", "kubernetes.top_pods", parameters={}, result=asdict(found))
    for locale, said in (("en", "not measured"), ("es", "sin medir")):
        words = place.actor.deps.words_by_locale[locale]
        assert all(line.count(said) == 2 for line in results.lines(step, words)[2:])
        assert f"{len(others)} {said}" in results.sentence(step, words)


async def test_external_secrets_of_an_older_version_are_found_and_none_at_all_is_said(place: Place) -> None:
    backend, secrets, name = place.sandbox.kubernetes, place.kubernetes.external_secrets, "tamv-core-secrets"
    found = backend.store.get(EXTERNAL_SECRET, PROD, name)
    assert found
    before = await secrets.sync_status(name, PROD)
    older = replace(EXTERNAL_SECRET, version="v1beta1")
    backend.kinds.pop(EXTERNAL_SECRET.key)
    backend.kinds[older.key] = older
    backend.store.put(older, deep_copy(found))
    assert (await secrets.sync_status(name, PROD)).at == before.at
    backend.kinds.pop(older.key)
    with pytest.raises(NotFound) as absent:
        await secrets.sync_status(name, PROD)
    assert absent.value.key == "kubernetes_no_api"

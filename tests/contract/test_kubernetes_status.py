"""A pod's status as `kubectl get pods` and `kubectl describe` read it, from what the API says."""

from __future__ import annotations

from typing import Any

import pytest

from bot.integrations.kubernetes.pods import _containers, _event, _pod, plain_text
from bot.integrations.kubernetes.status import cautions_of, pause_of, pod_obstacles, rollout_of

OOM = {"reason": "OOMKilled", "exitCode": 137}


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    containers = [{"name": "app"}, {"name": "proxy"}]
    return {"metadata": {"name": "web-0", "uid": "u", **metadata}, "spec": {"containers": containers}, "status": status}


def container(name: str = "app", restarts: int = 0, last: dict[str, Any] | None = None, **state: Any) -> dict[str, Any]:
    ended = {"terminated": last} if last else {}
    return {"name": name, "ready": "running" in state, "restartCount": restarts, "state": state, "lastState": ended}


RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("status", "phase", "why", "permanent"),
    [
        ({"phase": "Running", "containerStatuses": [container(**RUNNING)]}, "Running", "", False),
        (
            {"phase": "Running", "containerStatuses": [container(restarts=3, last=OOM, **RUNNING)]},
            "Running",
            "OOMKilled, exit code 137",
            False,
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    container(last=OOM, waiting={"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}),
                    container("proxy", **RUNNING),
                ],
            },
            "CrashLoopBackOff",
            "OOMKilled, exit code 137",
            True,
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    container(
                        "migrate", last={"exitCode": 1, "reason": "Error"}, waiting={"reason": "CrashLoopBackOff"}
                    )
                ],
                "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
            },
            "Init:CrashLoopBackOff",
            "Error, exit code 1",
            True,
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
            "Evicted",
            "The node was low on resource: memory.",
            False,
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient cpu.",
                    }
                ],
            },
            "Unschedulable",
            "0/3 nodes are available: 3 Insufficient cpu.",
            False,
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [container(waiting={"reason": "ImagePullBackOff", "message": "pull: not found"})],
            },
            "ImagePullBackOff",
            "pull: not found",
            True,
        ),
        (
            {"phase": "Pending", "containerStatuses": [container(waiting={"reason": "ContainerCreating"})]},
            "ContainerCreating",
            "",
            False,
        ),
    ],
)
def test_a_pod_is_told_as_kubectl_tells_it(status: dict[str, Any], phase: str, why: str, permanent: bool) -> None:
    read = _pod(pod(status))
    assert (read.phase, read.why) == (phase, why)
    assert any(obstacle.permanent for obstacle in pod_obstacles(pod(status))) is permanent


ENDED: dict[str, Any] = {"terminated": {"reason": "Completed", "exitCode": 0}}
READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({"containerStatuses": [container(**RUNNING), container("proxy", **ENDED)]}, "NotReady"),
        ({"containerStatuses": [container(**ENDED), container("proxy", **RUNNING)], "conditions": READY}, "Running"),
        ({"containerStatuses": [container(**ENDED), container("proxy", **ENDED)]}, "Completed"),
        ({"containerStatuses": [container(terminated={"exitCode": 137, "signal": 9})]}, "Signal:9"),
        ({"initContainerStatuses": [container("a", **ENDED), container("b", **RUNNING)]}, "Init:1/2"),
        ({"initContainerStatuses": [container("a", terminated={"exitCode": 3})]}, "Init:ExitCode:3"),
    ],
)
def test_of_several_containers_the_state_is_the_one_that_kubectl_shows(status: dict[str, Any], phase: str) -> None:
    assert _pod(pod({"phase": "Running", **status})).phase == phase


def test_a_sidecar_counts_as_a_container_and_a_failing_init_container_has_a_log() -> None:
    made = pod(
        {
            "phase": "Pending",
            "initContainerStatuses": [
                container("mesh", **RUNNING) | {"started": True},
                container("done", **ENDED),
                container("migrate", last={"exitCode": 1}, waiting={"reason": "CrashLoopBackOff"}),
                container("later", waiting={"reason": "PodInitializing"}),
            ],
        }
    )
    made["spec"]["initContainers"] = [
        {"name": "mesh", "restartPolicy": "Always"},
        *({"name": name} for name in ("done", "migrate", "later")),
    ]
    read = _pod(made)
    assert (read.phase, read.ready) == ("Init:CrashLoopBackOff", "1/3")
    assert read.containers == ["migrate", "mesh", "app", "proxy"]


def test_a_container_that_somebody_has_added_to_look_around_is_described() -> None:
    made = pod({"ephemeralContainerStatuses": [container("debugger", **RUNNING)]})
    made["spec"]["containers"] = []
    made["spec"]["ephemeralContainers"] = [{"name": "debugger", "image": "busybox:1"}]
    (line,) = _containers(made)
    assert (line.part, line.name, line.state) == ("ephemeral container", "debugger", "busybox:1 running")


def test_an_event_that_repeats_itself_is_as_old_as_its_newest_repetition() -> None:
    series = {"count": 40, "lastObservedTime": "2026-01-01T03:00:00.000000Z"}
    event = {"metadata": {"creationTimestamp": "2026-01-01T01:00:00Z"}, "eventTime": "2026-01-01T01:00:00.5Z"}
    read = _event({**event, "series": series, "note": "x"})
    assert (str(read.at), read.count) == ("2026-01-01 03:00:00+00:00", 40)


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    assert _pod(pod({"phase": "Running"}, deletionTimestamp="2026-01-01T00:00:00Z")).phase == "Terminating"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x1b[31;1mERROR\x1b[0m out of memory\r\n", "ERROR out of memory\n"),
        (b"\x1b]0;title\x07ready \x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "ready link"),
        (b"half a \xe2\x82 sign\x00\tand a tab", "half a \ufffd sign\tand a tab"),
        ("ok \u202egnp.exe\u202c \x85 ñ 日本".encode(), "ok gnp.exe  ñ 日本"),
    ],
)
def test_a_log_holds_nothing_that_controls_who_reads_it(content: bytes, text: str) -> None:
    assert plain_text(content) == text


AT = "2026-01-01T03:00:00Z"


def workload(spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "web", "generation": 2}, "spec": spec, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("kind", "spec", "held"),
    [
        ("statefulset", {"replicas": 3, "updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        ("statefulset", {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 3}}}, "partition: 3"),
        ("statefulset", {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}}, None),
        ("daemonset", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        ("daemonset", {}, None),
    ],
)
def test_a_workload_that_replaces_no_pod_by_itself_is_known(kind: str, spec: dict[str, Any], held: str | None) -> None:
    assert rollout_of(kind, workload(spec, {})).held == held


@pytest.mark.parametrize(
    ("kind", "spec", "status", "done"),
    [
        ("deployment", {"replicas": 2}, {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, True),
        ("deployment", {"replicas": 2}, {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}, False),
        ("deployment", {"replicas": 0}, {}, True),
        ("deployment", {"replicas": 2}, {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2}, False),
        (
            "statefulset",
            {"replicas": 1},
            {"replicas": 1, "readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            False,
        ),
        (
            "statefulset",
            {"replicas": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}},
            {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            True,
        ),
        (
            "statefulset",
            {"replicas": 1, "updateStrategy": {"type": "OnDelete"}},
            {"replicas": 1, "readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            True,
        ),
        ("daemonset", {}, {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}, False),
        ("daemonset", {}, {"desiredNumberScheduled": 0}, True),
        ("rollout", {"replicas": 2}, {"phase": "Healthy", "observedGeneration": "2"}, True),
        ("rollout", {"replicas": 2}, {"phase": "Paused", "observedGeneration": "2"}, False),
        ("rollout", {"replicas": 2, "restartAt": AT}, {"phase": "Healthy", "observedGeneration": "2"}, False),
        (
            "rollout",
            {"replicas": 2, "restartAt": AT},
            {"phase": "Healthy", "observedGeneration": "2", "restartedAt": AT},
            True,
        ),
        (
            "statefulset",
            {"replicas": 2, "minReadySeconds": 30},
            {"replicas": 2, "readyReplicas": 2, "availableReplicas": 1, "updateRevision": "b", "currentRevision": "b"},
            False,
        ),
    ],
)
def test_a_rollout_is_done_when_kubectl_says_so(
    kind: str, spec: dict[str, Any], status: dict[str, Any], done: bool
) -> None:
    assert rollout_of(kind, workload(spec, status)).done is done


@pytest.mark.parametrize(
    ("kind", "spec", "status", "permanent"),
    [
        ("deployment", {}, {}, None),
        ("deployment", {"paused": True}, {}, True),
        ("rollout", {}, {"phase": "Healthy"}, None),
        ("rollout", {"strategy": {"canary": {"steps": [{"pause": {}}]}}}, {"phase": "Paused"}, True),
        ("rollout", {"strategy": {"canary": {"steps": [{"pause": {"duration": "5m"}}]}}}, {"phase": "Paused"}, False),
        ("rollout", {"strategy": {"blueGreen": {"autoPromotionSeconds": 30}}}, {"phase": "Paused"}, False),
    ],
)
def test_a_pause_that_nothing_ends_stands_in_the_way(
    kind: str, spec: dict[str, Any], status: dict[str, Any], permanent: bool | None
) -> None:
    found = pause_of(kind, workload(spec, status))
    assert (found and (found.reason, found.permanent)) == (None if permanent is None else ("Paused", permanent))


PARTITION = {"rollingUpdate": {"partition": 2}}


@pytest.mark.parametrize(
    ("kind", "spec", "caution"),
    [
        ("deployment", {"replicas": 3, "strategy": {"type": "Recreate"}}, "recreate"),
        ("deployment", {"replicas": 0, "strategy": {"type": "Recreate"}}, None),
        ("deployment", {"replicas": 1, "strategy": {"type": "RollingUpdate"}}, None),
        ("statefulset", {"replicas": 1}, "one_pod"),
        ("statefulset", {"replicas": 3, "updateStrategy": PARTITION}, "partition"),
        ("statefulset", {"replicas": 3}, None),
        ("daemonset", {}, None),
    ],
)
def test_what_replacing_the_pods_does_besides_is_known(kind: str, spec: dict[str, Any], caution: str | None) -> None:
    found = cautions_of(kind, workload(spec, {}))
    assert [one["kind"] for one in found] == ([caution] if caution else [])

"""The metrics that the world exports, under the names of the operations manual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sandbox.prometheus.backend import Metadata
from sandbox.prometheus.tsdb import Floats, Series, Times, Tsdb
from sandbox.world.effects import mean, within
from sandbox.world.services import NAMESPACE, GpuNode, Service

BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
BOUNDS = np.array(BUCKETS)
LABELS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
STATUSES = ("200", "404", "500", "503")
# The columns of a pod's counters: requests within each bound, all of them, their seconds, their number, those of each
# status, seconds of the processor.
ALL, SECONDS, COUNT, STATUS = range(len(BUCKETS), len(BUCKETS) + 4)
CPU = STATUS + len(STATUSES)
COUNTERS = CPU + 1
DATABASE_BUSY = 30.0  # percent of the database's processors that the normal load takes
NOT_FOUND = 0.01  # ratio of 404 answers, which are no errors of the service

METADATA: Mapping[str, Metadata] = {
    "http_request_duration_seconds": Metadata("histogram", "Time to answer a request."),
    "http_requests_total": Metadata("counter", "Requests answered, by status."),
    "nvidia_gpu_utilization_gpu": Metadata("gauge", "Percent of the time in which the GPU was busy."),
    "xr_frame_rate": Metadata("gauge", "Frames a second that users see."),
    "aws_rds_cpuutilization_average": Metadata("gauge", "Percent of a database's processors in use, by CloudWatch."),
    "xr_active_users": Metadata("gauge", "Users in an immersive session."),
    "container_cpu_usage_seconds_total": Metadata("counter", "CPU time used by a container."),
    "container_memory_working_set_bytes": Metadata("gauge", "Memory that a container needs."),
    "kube_deployment_spec_replicas": Metadata("gauge", "Replicas that a deployment should have."),
    "kube_deployment_status_replicas": Metadata("gauge", "Replicas that a deployment has."),
    "kube_deployment_status_replicas_available": Metadata("gauge", "Replicas that are ready to serve."),
}


class Source:
    """Something that exports series. It works in intervals of time: `rows` has what it exports at the end of each of
    the last ones, a row an interval, with a number for each of `series` in their order.
    """

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = series
        self.rows: Floats = np.zeros((1, len(series)))

    def record(self, times: Times) -> None:
        """Append what was exported at the end of each of the first intervals, which are these times in ms."""
        for series, values in zip(self.series, self.rows[: len(times)].T, strict=True):
            series.extend(times, values)

    def end(self, at: int) -> None:
        """End the series at `at` ms."""
        for series in self.series:
            if len(series.times):
                series.end(at)


@dataclass(frozen=True)
class Work:
    """What the pods of a service do in each of some intervals of time, which are `seconds` long.

    `rate` (requests a second of each pod) is the same for all; the others have a row a pod: `errors` is a ratio, `p95`
    in seconds, `frames` a second, `cpu` in cores, `memory` in bytes.
    """

    seconds: Floats
    rate: Floats
    errors: Floats
    p95: Floats
    frames: Floats
    cpu: Floats
    memory: Floats


class PodSource(Source):
    """The counters and gauges of one pod."""

    def __init__(self, tsdb: Tsdb, service: Service, pod: str) -> None:
        labels = {"service": service.name, "namespace": NAMESPACE, "pod": pod}
        container = {"namespace": NAMESPACE, "pod": pod, "container": service.name}
        histogram = "http_request_duration_seconds"
        series = [tsdb.series(f"{histogram}_bucket", {**labels, "le": bound}) for bound in LABELS]
        series += [tsdb.series(f"{histogram}_sum", labels), tsdb.series(f"{histogram}_count", labels)]
        series += [tsdb.series("http_requests_total", {**labels, "status": status}) for status in STATUSES]
        series += [tsdb.series("container_cpu_usage_seconds_total", container)]
        series += [tsdb.series("container_memory_working_set_bytes", container)]
        if service.frames:
            series += [tsdb.series("xr_frame_rate", {"service": service.name, "pod": pod})]
        super().__init__(series)
        self.memory = 0.0
        self.reset()

    def reset(self) -> None:
        """Begin at zero, as a restarted container does."""
        self.counted: Floats = np.zeros(COUNTERS)


def do_work(pods: Sequence[PodSource], work: Work) -> None:
    """Let the pods of a service work: their counters go on, and their rows are those of these intervals."""
    requests = work.rate * work.seconds
    counted = np.empty((len(pods), len(requests), COUNTERS))
    counted[..., : len(BUCKETS)] = requests[:, None] * within(work.p95[..., None], BOUNDS)
    counted[..., ALL] = counted[..., COUNT] = requests
    counted[..., SECONDS] = requests * mean(work.p95)
    missing = NOT_FOUND * (1 - work.errors)
    for column, share in enumerate((1 - work.errors - missing, missing, 0.4 * work.errors, 0.6 * work.errors), STATUS):
        counted[..., column] = requests * share
    counted[..., CPU] = work.cpu * work.seconds
    counted[:, 0] += [pod.counted for pod in pods]
    np.cumsum(counted, axis=1, out=counted)
    rows = np.empty((*counted.shape[:2], len(pods[0].series)))
    rows[..., :COUNTERS] = np.floor(counted)
    rows[..., [SECONDS, CPU]] = np.round(counted[..., [SECONDS, CPU]], 3)
    rows[..., COUNTERS] = np.round(work.memory)
    if len(pods[0].series) > COUNTERS + 1:
        rows[..., -1] = np.round(work.frames, 2)
    for number, pod in enumerate(pods):
        pod.counted, pod.rows, pod.memory = counted[number, -1], rows[number], float(work.memory[number, -1])


class GpuSource(Source):
    """The utilisation of one node's GPU, in percent."""

    def __init__(self, tsdb: Tsdb, node: GpuNode) -> None:
        super().__init__([tsdb.series("nvidia_gpu_utilization_gpu", {"instance": node.name, "gpu": "0"})])

    def work(self, utilisation: Floats) -> None:
        """Be busy to so many percent in each of some intervals."""
        self.rows = np.round(utilisation, 2)[:, None]


class DeploymentSource(Source):
    """The replica counts of one deployment, the users of its service if it has any, and the load of its database."""

    def __init__(self, tsdb: Tsdb, service: Service) -> None:
        labels = {"deployment": service.name, "namespace": NAMESPACE}
        names = ("spec_replicas", "status_replicas", "status_replicas_available")
        series = [tsdb.series(f"kube_deployment_{name}", labels) for name in names]
        if service.users:
            series.append(tsdb.series("xr_active_users", {"service": service.name}))
        if service.database:
            instance = {"dbinstance_identifier": service.database}
            series.append(tsdb.series("aws_rds_cpuutilization_average", instance))
        super().__init__(series)
        self._service = service

    def work(self, users: Floats, loads: Floats) -> None:
        """Serve so many users, at so many times the normal load, in each of some intervals."""
        self.rows = np.zeros((len(users), len(self.series)))
        if self._service.users:
            self.rows[:, 3] = np.round(users)
        if self._service.database:
            self.rows[:, -1] = np.round(np.minimum(DATABASE_BUSY * loads, 100.0), 1)

    def count(self, wanted: int, pods: int, ready: int) -> None:
        """Set the replicas of the last intervals."""
        self.rows[:, :3] = (wanted, pods, ready)

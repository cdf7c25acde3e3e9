"""The metrics that the world exports, under the names of the operations manual."""

from collections.abc import Mapping, Sequence

import numpy as np

from sandbox.prometheus.backend import Metadata
from sandbox.prometheus.tsdb import Series, Tsdb
from sandbox.world.effects import Figures, mean, within
from sandbox.world.services import NAMESPACE, GpuNode, Service

BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
BOUNDS = np.array(BUCKETS)
LABELS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
STATUSES = ("200", "404", "500", "503")
NOT_FOUND = 0.01  # ratio of 404 answers, which are no errors of the service

METADATA: Mapping[str, Metadata] = {
    "http_request_duration_seconds": Metadata("histogram", "Time to answer a request."),
    "http_requests_total": Metadata("counter", "Requests answered, by status."),
    "nvidia_gpu_utilization_gpu": Metadata("gauge", "Percent of the time in which the GPU was busy."),
    "xr_frame_rate": Metadata("gauge", "Frames a second that users see."),
    "xr_active_users": Metadata("gauge", "Users in an immersive session."),
    "container_cpu_usage_seconds_total": Metadata("counter", "CPU time used by a container."),
    "container_memory_working_set_bytes": Metadata("gauge", "Memory that a container needs."),
    "kube_deployment_spec_replicas": Metadata("gauge", "Replicas that a deployment should have."),
    "kube_deployment_status_replicas": Metadata("gauge", "Replicas that a deployment has."),
    "kube_deployment_status_replicas_available": Metadata("gauge", "Replicas that are ready to serve."),
}


class Source:
    """Something that exports series: `values` has a number for each of `series`, in their order."""

    series: Sequence[Series] = ()

    def values(self) -> list[float]:
        raise NotImplementedError

    def record(self, at: int) -> None:
        """Append the present values as samples at `at` ms."""
        for series, value in zip(self.series, self.values(), strict=True):
            series.append(at, value)

    def end(self, at: int) -> None:
        """End the series at `at` ms."""
        for series in self.series:
            if len(series.times):
                series.end(at)


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
        self.series = series
        self._renders = bool(service.frames)
        self.reset()

    def reset(self) -> None:
        """Begin at zero, as a restarted container does."""
        self._buckets = np.zeros(len(LABELS))
        self._requests = np.zeros(len(STATUSES))
        self._seconds = self._cpu = self.memory = self._frames = 0.0

    def add(self, seconds: float, rate: float, figures: Figures, memory: float) -> None:
        """Let the pod work for `seconds` at `rate` requests a second."""
        requests = rate * seconds
        self._buckets[:-1] += requests * within(figures.p95, BOUNDS)
        self._buckets[-1] += requests
        self._seconds += requests * mean(figures.p95)
        errors = figures.errors
        missing = NOT_FOUND * (1 - errors)
        self._requests += requests * np.array([1 - errors - missing, missing, 0.4 * errors, 0.6 * errors])
        self._cpu += figures.cpu * seconds
        self.memory = memory
        self._frames = figures.frames

    def values(self) -> list[float]:
        buckets = np.floor(self._buckets).tolist()
        values = [*buckets, round(self._seconds, 3), buckets[-1], *np.floor(self._requests).tolist()]
        values += [round(self._cpu, 3), float(round(self.memory))]
        return [*values, round(self._frames, 2)] if self._renders else values


class GpuSource(Source):
    """The utilisation of one node's GPU, in percent."""

    def __init__(self, tsdb: Tsdb, node: GpuNode) -> None:
        self.series = [tsdb.series("nvidia_gpu_utilization_gpu", {"instance": node.name, "gpu": "0"})]
        self.utilisation = 0.0

    def values(self) -> list[float]:
        return [round(self.utilisation, 2)]


class DeploymentSource(Source):
    """The replica counts of one deployment, and the users of its service if it has any."""

    def __init__(self, tsdb: Tsdb, service: Service) -> None:
        labels = {"deployment": service.name, "namespace": NAMESPACE}
        names = ("spec_replicas", "status_replicas", "status_replicas_available")
        self.series = [tsdb.series(f"kube_deployment_{name}", labels) for name in names]
        if service.users:
            self.series.append(tsdb.series("xr_active_users", {"service": service.name}))
        self._has_users = bool(service.users)
        self.wanted = self.pods = self.ready = 0
        self.users = 0.0

    def values(self) -> list[float]:
        counts = [float(self.wanted), float(self.pods), float(self.ready)]
        return [*counts, float(round(self.users))] if self._has_users else counts

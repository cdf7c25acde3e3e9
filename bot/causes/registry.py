"""How a cause is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bot.domain.diagnosis import Cause, Place
from bot.domain.findings import BASE

Ways = Mapping[str, float] | Sequence[Mapping[str, float]]
Function = Callable[[], Ways]

# What nearly every cause leaves as it was; one that does not says so.
UNTOUCHED: Mapping[str, float] = {
    "more_requests": 0.08,
    "fewer_pods": 0.06,
    "pods_gone_with_node": 0.03,
    "node_not_ready": 0.03,
    "node_busy": 0.05,
    "memory_climbs": 0.03,
    "killed_for_memory": 0.03,
    "new_limits": 0.01,
    "new_pods_worse": 0.04,
    "one_node_ill": 0.04,
    "one_zone_ill": 0.03,
    "one_version_ill": 0.03,
    "autoscaler_at_most": 0.06,
    "quota_refuses": 0.01,
    "dependency_ill": 0.05,
    "database_full": 0.04,
    "policy_changed": 0.02,
    "certificate_ended": 0.01,
}


class Registry:
    """The causes by name."""

    def __init__(self) -> None:
        self._causes: dict[str, Cause] = {}
        self._docs: dict[str, str] = {}

    def cause(
        self,
        place: Place = Place.SERVICE,
        *,
        must: Sequence[str],
        treatments: Sequence[str] = (),
        remains: str | None = None,
        treatments_if: Mapping[str, Sequence[str]] | None = None,
    ) -> Callable[[Function], Function]:
        """Register a function that returns what the cause predicts: finding → probability, or one such for each way.

        Its docstring says what it is and what refutes it; the words for people are in the labels, under `causes`. The
        `treatments` are tried in their order, those of `treatments_if` instead where its finding is made.
        Raises ValueError for a finding that nobody looks for.
        """

        def register(function: Function) -> Function:
            ways = function()
            predictions = [ways] if isinstance(ways, Mapping) else list(ways)
            cause = Cause(
                function.__name__,
                place,
                [{**UNTOUCHED, **way} for way in predictions],
                tuple(must),
                tuple(treatments),
                remains,
                treatments_if or {},
            )
            unknown = {name for way in cause.ways for name in way} | set(must) | set(cause.treatments_if)
            unknown |= {remains} if remains else set()
            if unknown := unknown - set(BASE):
                raise ValueError(f"{cause.name} predicts what nobody looks for: {', '.join(sorted(unknown))}")
            self._causes[cause.name] = cause
            self._docs[cause.name] = function.__doc__ or ""
            return function

        return register

    def all(self) -> list[Cause]:
        return list(self._causes.values())

    def get(self, name: str) -> Cause | None:
        return self._causes.get(name)

    def doc(self, name: str) -> str:
        return self._docs[name]


CAUSES = Registry()

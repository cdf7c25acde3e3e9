"""Litmus in a cluster: experiments that are installed, engines that run one, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bot.domain.errors import NotFound, WrongState
from bot.domain.nearest import nearest
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client, diff

GROUP, VERSION = "litmuschaos.io", "v1alpha1"
EXPERIMENTS, ENGINES, RESULTS = "chaosexperiments", "chaosengines", "chaosresults"
MERGE = "application/merge-patch+json"
ENDED = ("completed", "stopped")
Object = dict[str, Any]


class ChaosEngines:
    """Engines of Litmus. Methods raise what the cluster's do."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def missing_definitions(self) -> list[str]:
        """Return which of Litmus' resources the cluster does not have."""
        there = await self._cluster.resources(GROUP, VERSION)
        return [f"{name}.{GROUP}" for name in (ENGINES, EXPERIMENTS, RESULTS) if name not in there]

    async def require(self, experiment: str, account: str, namespace: str) -> None:
        """Raise WrongState if Litmus is not installed or the experiment reaches beyond its namespace, and NotFound with
        the experiments that are there if it is none of them, or without the service account that its pods run under.
        """
        if missing := await self.missing_definitions():
            raise WrongState("litmus_missing", missing=missing)
        await self.require_installed(experiment, account, namespace)

    async def require_installed(self, experiment: str, account: str, namespace: str) -> None:
        """Do the same where Litmus is known to be installed."""
        found = await self._cluster.list_all(
            f"{EXPERIMENTS} of {namespace}",
            self._api.list_namespaced_custom_object,
            GROUP, VERSION, namespace, EXPERIMENTS,
        )  # fmt: skip
        scopes = {str(one["metadata"]["name"]): str(one["spec"]["definition"].get("scope")) for one in found}
        if experiment not in scopes:
            facts = {"experiment": experiment, "namespace": namespace}
            raise NotFound("no_experiment", nearest=nearest(experiment, scopes), known=sorted(scopes), **facts)
        if scopes[experiment] != "Namespaced":
            raise WrongState("chaos_too_wide", experiment=experiment, scope=scopes[experiment])
        try:
            await self._cluster.ask(
                f"serviceaccount {namespace}/{account}",
                client.CoreV1Api(self._cluster.api).read_namespaced_service_account, account, namespace,
            )  # fmt: skip
        except NotFound:
            raise NotFound("no_chaos_account", account=account, experiment=experiment, namespace=namespace) from None

    async def state(self, engine: str, namespace: str) -> str | None:
        """Return the engine's status, empty before Litmus has seen it; None if there is no such engine."""
        try:
            found = await self._ask("get", engine, namespace)
        except NotFound:
            return None
        return str((found.get("status") or {}).get("engineStatus") or "")

    async def result(self, engine: str, experiment: str, namespace: str) -> Object | None:
        """Return the engine's ChaosResult as it is now, None before there is one."""
        name = f"{engine}-{experiment}"
        try:
            found: Object = await self._cluster.ask(
                f"chaosresult {namespace}/{name}", self._api.get_namespaced_custom_object,
                GROUP, VERSION, namespace, RESULTS, name,
            )  # fmt: skip
        except NotFound:
            return None
        return found

    @effect("litmus.start", hidden=("body",))
    async def start(
        self, engine: str, namespace: str, body: Mapping[str, Any], aim: Mapping[str, Any], *, dry_run: bool = False
    ) -> str:
        """Create the engine; does nothing if one of that name exists.

        `aim` is what people approve: experiment, label, pods, how many of them are affected at a time, seconds, probes.
        """
        if await self.state(engine, namespace) is not None:
            return ""
        created = await self._cluster.ask(
            f"chaosengine {namespace}/{engine}", self._api.create_namespaced_custom_object,
            GROUP, VERSION, namespace, ENGINES, dict(body),
            dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER,
        )  # fmt: skip
        return diff({}, created) if dry_run else ""

    @effect("litmus.stop", stops=True)
    async def stop(self, engine: str, namespace: str, *, dry_run: bool = False) -> str:
        """Tell Litmus to stop the engine's experiment. Does nothing if there is no such engine."""
        with suppress(NotFound):
            await self._ask(
                "patch", engine, namespace, {"spec": {"engineState": "stop"}},
                dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER, _content_type=MERGE,
            )  # fmt: skip
        return ""

    @property
    def _api(self) -> Any:
        return client.CustomObjectsApi(self._cluster.api)

    async def _ask(self, verb: str, engine: str, namespace: str, *more: Any, **options: Any) -> Object:
        found: Object = await self._cluster.ask(
            f"chaosengine {namespace}/{engine}", getattr(self._api, f"{verb}_namespaced_custom_object"),
            GROUP, VERSION, namespace, ENGINES, engine, *more, **options,
        )  # fmt: skip
        return found

"""Deployments: read, scale, patch, restart, wait for a rollout, roll back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.domain.errors import NotFound, Refused, Unavailable, WrongState
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client, diff

POLL_SECONDS = 1.0
REVISION = "deployment.kubernetes.io/revision"
RESTARTED = "kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Progress of a rollout: pods wanted, updated and available; `done` as in `kubectl rollout status`."""

    wanted: int
    updated: int
    available: int
    done: bool
    revision: int
    stuck: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """An image of a deployment's first container, and when it was first rolled out."""

    image: str
    at: datetime


class Deployments:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self._cluster.api)

    async def replicas(self, name: str, namespace: str) -> int:
        """Return the desired number of replicas."""
        scale = await self._cluster.ask(
            f"deployment {namespace}/{name}", self._apps.read_namespaced_deployment_scale, name, namespace
        )
        return int(scale.spec.replicas or 0)

    async def scaled_by(self, name: str, namespace: str) -> str | None:
        """Return the autoscaler that controls the deployment, if any and if the bot may see it."""
        autoscaling = client.AutoscalingV2Api(self._cluster.api)
        try:
            autoscalers = await self._cluster.ask(
                f"autoscalers of {namespace}", autoscaling.list_namespaced_horizontal_pod_autoscaler, namespace
            )
        except (NotFound, Refused):
            return None
        for autoscaler in autoscalers.items:
            target = autoscaler.spec.scale_target_ref
            if target.kind == "Deployment" and target.name == name:
                return str(autoscaler.metadata.name)
        return None

    @effect("kubernetes.scale")
    async def scale(self, deployment: str, namespace: str, replicas: int, before: int, *, dry_run: bool = False) -> str:
        """Set the number of replicas. A dry run asks the server too, which reports what it would refuse."""
        await self._cluster.ask(
            f"deployment {namespace}/{deployment}",
            self._apps.patch_namespaced_deployment_scale,
            deployment,
            namespace,
            {"spec": {"replicas": replicas}},
            dry_run=ALL if dry_run else None,
            field_manager=FIELD_MANAGER,
        )
        return f"-  replicas: {before}\n+  replicas: {replicas}"

    async def node_selector(self, name: str, namespace: str) -> dict[str, str]:
        deployment = await self._read(name, namespace)
        return dict(deployment.spec.template.spec.node_selector or {})

    @effect("kubernetes.set_node_selector")
    async def set_node_selector(
        self, deployment: str, namespace: str, selector: Mapping[str, str | None], *, dry_run: bool = False
    ) -> str:
        """Change keys of the pods' node selector; None removes a key."""
        patch = {"spec": {"template": {"spec": {"nodeSelector": dict(selector)}}}}
        return await self._patch(deployment, namespace, patch, dry_run)

    async def env(self, name: str, namespace: str) -> tuple[str, dict[str, str | None]]:
        """Return the first container's name and its variables; None for a value from elsewhere (a secret, a field)."""
        container = (await self._read(name, namespace)).spec.template.spec.containers[0]
        return str(container.name), {variable.name: variable.value for variable in container.env or []}

    @effect("kubernetes.set_env")
    async def set_env(
        self,
        deployment: str,
        namespace: str,
        container: str,
        variables: Mapping[str, str | None],
        *,
        dry_run: bool = False,
    ) -> str:
        """Set variables of a container; None removes one."""
        env = [
            {"name": name, "value": value} if value is not None else {"name": name, "$patch": "delete"}
            for name, value in variables.items()
        ]
        patch = {"spec": {"template": {"spec": {"containers": [{"name": container, "env": env}]}}}}
        return await self._patch(deployment, namespace, patch, dry_run)

    @effect("kubernetes.restart")
    async def restart(self, deployment: str, namespace: str, at: datetime, *, dry_run: bool = False) -> str:
        """Restart the pods as `kubectl rollout restart` does; a second call with the same time has no effect."""
        annotations = {RESTARTED: at.isoformat()}
        patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        return await self._patch(deployment, namespace, patch, dry_run)

    async def rollout(self, name: str, namespace: str) -> Rollout:
        """Return the progress of the rollout."""
        deployment = await self._read(name, namespace)
        status, wanted = deployment.status, int(deployment.spec.replicas or 0)
        updated, available = int(status.updated_replicas or 0), int(status.available_replicas or 0)
        total = int(status.replicas or 0)
        observed = int(status.observed_generation or 0) >= int(deployment.metadata.generation or 0)
        stuck = next(
            (
                condition.message
                for condition in status.conditions or []
                if condition.type == "Progressing"
                and condition.status == "False"
                and condition.reason == "ProgressDeadlineExceeded"
            ),
            None,
        )
        revision = int((deployment.metadata.annotations or {}).get(REVISION, 0))
        done = observed and updated == wanted and total == updated and available == updated
        return Rollout(wanted, updated, available, done, revision, str(stuck) if stuck else None)

    async def wait_until_rolled_out(self, name: str, namespace: str) -> Rollout:
        """Wait until the rollout is done; the caller sets the deadline. Raises WrongState if it is stuck."""
        while True:
            try:
                rollout = await self.rollout(name, namespace)
            except Unavailable:
                rollout = None
            if rollout and rollout.done:
                return rollout
            if rollout and rollout.stuck:
                raise WrongState("rollout_stuck", deployment=name, namespace=namespace, why=rollout.stuck)
            await asyncio.sleep(POLL_SECONDS)

    @effect("kubernetes.rollout_undo")
    async def rollout_undo(self, deployment: str, namespace: str, to_revision: int, *, dry_run: bool = False) -> str:
        """Restore the pod template of an earlier revision, as `kubectl rollout undo` does."""
        template = await self._template(deployment, namespace, to_revision)
        patch = [{"op": "replace", "path": "/spec/template", "value": template}]
        return await self._patch(deployment, namespace, patch, dry_run)

    async def revisions(self, name: str, namespace: str) -> list[int]:
        """Return the available revisions, oldest first."""
        return sorted(await self._replica_sets(name, namespace))

    async def versions(self, name: str, namespace: str) -> list[Version]:
        """Return the images that were rolled out and are still known, oldest first. Raises NotFound."""
        await self._read(name, namespace)
        sets = (await self._replica_sets(name, namespace)).values()
        return sorted(
            (
                Version(str(one.spec.template.spec.containers[0].image), one.metadata.creation_timestamp)
                for one in sets
                if one.spec.template and one.metadata.creation_timestamp
            ),
            key=lambda version: version.at,
        )

    async def _template(self, name: str, namespace: str, revision: int) -> dict[str, Any]:
        replica_sets = await self._replica_sets(name, namespace)
        if revision not in replica_sets:
            raise NotFound("no_such_revision", deployment=name, revision=revision, known=sorted(replica_sets))
        template: dict[str, Any] = self._cluster.plain(replica_sets[revision].spec.template)
        template.get("metadata", {}).get("labels", {}).pop("pod-template-hash", None)
        return template

    async def _replica_sets(self, name: str, namespace: str) -> dict[int, Any]:
        replica_sets = await self._cluster.ask(
            f"replica sets of {namespace}", self._apps.list_namespaced_replica_set, namespace
        )
        return {
            int(replica_set.metadata.annotations[REVISION]): replica_set
            for replica_set in replica_sets.items
            if any(
                owner.kind == "Deployment" and owner.name == name
                for owner in replica_set.metadata.owner_references or []
            )
            and REVISION in (replica_set.metadata.annotations or {})
        }

    async def _read(self, name: str, namespace: str) -> Any:
        return await self._cluster.ask(
            f"deployment {namespace}/{name}", self._apps.read_namespaced_deployment, name, namespace
        )

    async def _patch(self, name: str, namespace: str, patch: Any, dry_run: bool) -> str:
        before = self._cluster.plain(await self._read(name, namespace)) if dry_run else {}
        after = await self._cluster.ask(
            f"deployment {namespace}/{name}",
            self._apps.patch_namespaced_deployment,
            name,
            namespace,
            patch,
            dry_run=ALL if dry_run else None,
            field_manager=FIELD_MANAGER,
        )
        return diff(before, self._cluster.plain(after)) if dry_run else ""

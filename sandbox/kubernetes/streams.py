"""Subresources of pods that stream: logs over HTTP, exec over a websocket.

The protocol of exec: binary frames whose first byte is the channel (0 stdin, 1 stdout, 2 stderr, 3 the Status at the
end; v5 adds 255, the close of another). https://kubernetes.io/docs/reference/using-api/websocket-protocol/ is not
written; k8s.io/apimachinery/pkg/util/remotecommand has the names.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.kubernetes.call import Call
from sandbox.kubernetes.logs import Line, Logs
from sandbox.kubernetes.objects import Object, is_terminating, moment, name_of, namespace_of, status_of
from sandbox.kubernetes.problems import Problem, bad_request
from sandbox.kubernetes.programs import Exit, Programs
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Store
from sandbox.world import World

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STATUS = 3
LOOK = 0.1  # real seconds between two looks at what is new in a followed log
LIVE = ("Running", "Pending")


def container_of(pod: Object, wanted: str) -> str:
    """The container that is meant. Problem 400 when there is none of that name, or several and none is named."""
    names = [one["name"] for one in pod["spec"]["containers"]]
    if wanted and wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
    if not wanted and len(names) > 1:
        raise bad_request(
            f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(names)}]"
        )
    return wanted or str(names[0])


def check_started(pod: Object, container: str) -> None:
    """Problem 400 for a container that has not started."""
    for status in status_of(pod).get("containerStatuses") or [{"name": container, "state": {"waiting": {}}}]:
        if status["name"] == container and "waiting" in status["state"]:
            why = status["state"]["waiting"].get("reason", "PodInitializing")
            raise bad_request(f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {why}')


class LogStream:
    """One request for a log."""

    def __init__(self, call: Call, store: Store, logs: Logs, world: World) -> None:
        self._call = call
        self._store = store
        self._logs = logs
        self._world = world

    def begin(self, pod: Object, now: datetime) -> AsyncIterator[bytes]:
        """Check what is asked for; gives the lines. Problem 400 when it cannot be."""
        query = self._call.query
        container = container_of(pod, query.get("container") or "")
        if query.get("previous") == "true":
            return self._written(self._cut(list(self._logs.previous(pod))))
        check_started(pod, container)
        since = self._since(now)
        lines = self._cut(list(self._logs.lines(pod, container, since, now)))
        if query.get("follow") == "true":
            return self._followed(pod, container, lines, now)
        return self._written(lines)

    def _since(self, now: datetime) -> datetime | None:
        query = self._call.query
        if seconds := query.get("sinceSeconds"):
            if not seconds.isdigit() or int(seconds) < 1:
                raise bad_request(f"sinceSeconds: Invalid value: {seconds}: must be greater than 0")
            return now - timedelta(seconds=int(seconds))
        return moment(query["sinceTime"]) if query.get("sinceTime") else None

    def _cut(self, lines: list[Line]) -> list[Line]:
        tail = self._call.query.get("tailLines")
        if tail is None:
            return lines
        return list(deque(lines, int(tail)))

    async def _written(self, lines: list[Line]) -> AsyncIterator[bytes]:
        limit = int(self._call.query.get("limitBytes") or 0)
        timestamps = self._call.query.get("timestamps") == "true"
        text = "".join(line.shown(timestamps=timestamps) for line in lines).encode()
        yield text[:limit] if limit else text

    async def _followed(self, pod: Object, container: str, lines: list[Line], now: datetime) -> AsyncIterator[bytes]:
        async for part in self._written(lines):
            yield part
        seen = now
        while True:
            await asyncio.sleep(LOOK)
            self._world.advance()
            present = self._store.get(POD, namespace_of(pod), name_of(pod))
            until = datetime.fromtimestamp(self._world.at / 1000, now.tzinfo)
            fresh = [line for line in self._logs.lines(present or pod, container, seen, until) if line.at > seen]
            async for part in self._written(fresh):
                if part:
                    yield part
            seen = until
            if present is None or is_terminating(present) or status_of(present).get("phase") not in LIVE:
                return


async def run_in(websocket: WebSocket, pod: Object, programs: Programs) -> None:
    """Run the command of an exec request and tell on the channels what comes of it."""
    offered = websocket.scope.get("subprotocols") or []
    await websocket.accept(next((one for one in PROTOCOLS if one in offered), None))
    ended = Exit()
    command = websocket.query_params.getlist("command")
    wanted = {1: websocket.query_params.get("stdout"), 2: websocket.query_params.get("stderr")}
    try:
        async for channel, written in programs.run(command, pod, ended):
            if wanted[channel] in ("1", "true", "True"):
                await websocket.send_bytes(bytes([channel]) + written)
        await websocket.send_bytes(bytes([STATUS]) + json.dumps(_status(ended)).encode())
        await websocket.close()
    except WebSocketDisconnect:
        return


def _status(ended: Exit) -> Object:
    if ended.missing:
        told = f'exec: "{ended.missing}": executable file not found in $PATH: unknown'
        return Problem(500, "InternalError", told, {"causes": [{"message": told}]}).status()
    if not ended.code:
        return {"metadata": {}, "status": "Success"}
    told = f"command terminated with non-zero exit code: exit code {ended.code}"
    causes = [{"reason": "ExitCode", "message": str(ended.code)}]
    return {**Problem(500, "NonZeroExitCode", told, {"causes": causes}).status()}

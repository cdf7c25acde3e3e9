"""Run programs in pods: stream their output and check their exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import aiohttp

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.integrations.kubernetes.cluster import SERVICE, Cluster, client, stream

STDOUT, STDERR, STATUS = 1, 2, 3
STDERR_LIMIT = 2_000  # bytes

SCRIPT = r"""
set -eu
decoded() {
  plain= rest=$1
  while [ "$rest" != "${rest#*%}" ]; do
    plain=$plain${rest%%\%*}
    rest=${rest#*%}
    plain=$plain$(printf "\\$(printf %03o "0x${rest%"${rest#??}"}")")
    rest=${rest#??}
  done
  printf %s "$plain$rest"
}
address=${DATABASE_URL#*://} options=
case $address in *\?*) options=${address#*\?} address=${address%%\?*} ;; esac
case $address in */*) PGDATABASE=$(decoded "${address#*/}") address=${address%%/*} ;; esac
case $address in
  *@*)
    login=${address%@*} address=${address##*@}
    PGUSER=$(decoded "${login%%:*}")
    case $login in *:*) PGPASSWORD=$(decoded "${login#*:}") ;; esac
    ;;
esac
case $address in
  \[*) PGHOST=${address#\[} PGHOST=${PGHOST%%\]*} address=${address##*\]} ;;
  *) PGHOST=${address%%:*} ;;
esac
case $address in *:*) PGPORT=${address##*:} ;; esac
while [ -n "$options" ]; do
  case $options in
    sslmode=*) PGSSLMODE=${options#*=} PGSSLMODE=${PGSSLMODE%%&*} ;;
    sslrootcert=*) PGSSLROOTCERT=${options#*=} PGSSLROOTCERT=$(decoded "${PGSSLROOTCERT%%&*}") ;;
  esac
  case $options in *\&*) options=${options#*&} ;; *) options= ;; esac
done
export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE PGSSLROOTCERT
unset DATABASE_URL
exec pg_dump --format=custom --no-password
"""


class Exec:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def stream(
        self, pod: str, namespace: str, command: Sequence[str], container: str | None = None, idle: float = 60.0
    ) -> AsyncGenerator[bytes, None]:
        """Yield a program's standard output in pieces; never holds all of it in memory.

        Raises Refused (`program_failed`, with exit code and the end of standard error) if it fails, Unavailable if the
        connection breaks or there is no output for `idle` seconds. The output is incomplete then and must be discarded.
        """
        what = f"{command[0]} in {namespace}/{pod}"
        stderr, status = b"", None
        await self._cluster.open()
        try:
            async with stream.WsApiClient(self._cluster.api.configuration) as sockets:  # type: ignore[no-untyped-call]
                api: Any = client.CoreV1Api(sockets)
                connection = await api.connect_get_namespaced_pod_exec_without_preload_content(
                    pod, namespace, command=list(command), container=container,
                    stdout=True, stderr=True, stdin=False, tty=False,
                )  # fmt: skip
                async with connection as socket:
                    async for channel, data in _messages(socket, idle):
                        if channel == STDOUT:
                            yield data
                        elif channel == STDERR:
                            stderr = (stderr + data)[-STDERR_LIMIT:]
                        elif channel == STATUS:
                            status = json.loads(data)
        except aiohttp.WSServerHandshakeError as refused:
            raise _refused(what, refused) from refused
        except TimeoutError as slow:
            raise Unavailable("timed_out", service=SERVICE, what=what, seconds=idle) from slow
        except (aiohttp.ClientError, OSError) as broken:
            raise Unavailable("unreachable", service=SERVICE, what=what, why=type(broken).__name__) from broken
        if status is None:
            raise Unavailable("unreachable", service=SERVICE, what=what, why="the connection broke off")
        if status.get("status") != "Success":
            text = stderr.decode(errors="replace").strip() or str(status.get("message", ""))
            raise Refused("program_failed", what=what, code=_code(status), why=text[-300:])

    async def output(
        self, pod: str, namespace: str, command: Sequence[str], container: str | None, *, limit: int, within: float
    ) -> tuple[bytes, bool]:
        """Return the first `limit` bytes that a program writes, and whether there was more; a longer one is left alone.

        `within` in seconds. Raises as `stream`.
        """
        content = b""
        pieces = self.stream(pod, namespace, command, container, idle=within)
        try:
            async with asyncio.timeout(within):
                async for piece in pieces:
                    content += piece
                    if len(content) > limit:
                        break
        except TimeoutError as slow:
            what = f"{command[0]} in {namespace}/{pod}"
            raise Unavailable("timed_out", service=SERVICE, what=what, seconds=within) from slow
        finally:
            await pieces.aclose()
        return content[:limit], len(content) > limit


async def _messages(socket: aiohttp.ClientWebSocketResponse, idle: float) -> AsyncIterator[tuple[int, bytes]]:
    while True:
        async with asyncio.timeout(idle):
            message = await socket.receive()
        match message.type:
            case aiohttp.WSMsgType.BINARY if message.data:
                yield message.data[0], message.data[1:]
            case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.CLOSING:
                return
            case aiohttp.WSMsgType.ERROR:
                raise aiohttp.ClientConnectionError(str(message.data))


def _code(status: dict[str, Any]) -> int | None:
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    return None


def _refused(what: str, refused: aiohttp.WSServerHandshakeError) -> NotFound | Refused | Unavailable:
    """Return the error of a rejected handshake; it has no body, only a status."""
    match refused.status:
        case 404:
            return NotFound("kubernetes_not_found", what=what, why="not found")
        case 403:
            return Refused("kubernetes_forbidden", what=what, verb="create", resource="pods/exec", namespace="*")
        case status if status >= 500:
            return Unavailable("unreachable", service=SERVICE, what=what, status=status, why=f"HTTP {status}")
        case status:
            return Refused("refused", service=SERVICE, what=what, status=status, why=refused.message)


class Dumps:
    def __init__(self, exec: Exec) -> None:
        self._exec = exec

    def of_database(self, pod: str, namespace: str, container: str | None = None) -> AsyncIterator[bytes]:
        """Yield a dump of the pod's database as pg_dump writes it, in pieces. Raises as `Exec.stream`."""
        return self._exec.stream(pod, namespace, ["sh", "-c", SCRIPT], container)

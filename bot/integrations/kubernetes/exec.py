"""Programs in pods: what they write, streamed, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.integrations.kubernetes.cluster import SERVICE, Cluster, client, stream

STDOUT, STDERR, STATUS = 1, 2, 3
KEPT = 2_000  # bytes of what it complains of

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
    ) -> AsyncIterator[bytes]:
        """What a program writes, piece by piece and never as a whole in memory.

        Raises Refused (`program_failed`, with the exit code and the end of what it complained of) when it does not
        end well, Unavailable when the connection breaks or nothing comes for `idle` seconds. Then what has come is
        not whole, and must not be kept.
        """
        what = f"{command[0]} in {namespace}/{pod}"
        complaint, ended = b"", None
        try:
            async with stream.WsApiClient(self._cluster.api.configuration) as sockets:  # type: ignore[no-untyped-call]
                main: Any = client.CoreV1Api(sockets)
                opened = await main.connect_get_namespaced_pod_exec_without_preload_content(
                    pod, namespace, command=list(command), container=container,
                    stdout=True, stderr=True, stdin=False, tty=False,
                )  # fmt: skip
                async with opened as socket:
                    async for channel, written in _messages(socket, idle):
                        if channel == STDOUT:
                            yield written
                        elif channel == STDERR:
                            complaint = (complaint + written)[-KEPT:]
                        elif channel == STATUS:
                            ended = json.loads(written)
        except aiohttp.WSServerHandshakeError as refused:
            raise _refused(what, refused) from refused
        except TimeoutError as slow:
            raise Unavailable("timed_out", service=SERVICE, what=what, seconds=idle) from slow
        except (aiohttp.ClientError, OSError) as broken:
            raise Unavailable("unreachable", service=SERVICE, what=what, why=type(broken).__name__) from broken
        if ended is None:
            raise Unavailable("unreachable", service=SERVICE, what=what, why="the connection broke off")
        if ended.get("status") != "Success":
            text = complaint.decode(errors="replace").strip() or str(ended.get("message", ""))
            raise Refused("program_failed", what=what, code=_code(ended), why=text[-300:])


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
    """The handshake's answer has no body: only its status says what is wrong."""
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
    def __init__(self, programs: Exec) -> None:
        self._programs = programs

    def of_database(self, pod: str, namespace: str) -> AsyncIterator[bytes]:
        """The dump as pg_dump writes it, piece by piece. Raises as `Programs.output`."""
        return self._programs.stream(pod, namespace, ["sh", "-c", SCRIPT])

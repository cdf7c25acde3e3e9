"""Socket Mode: the same deliveries over a websocket that the bot opens. https://docs.slack.dev/apis/events-api/using-socket-mode"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import uuid
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.slack.state import JSON

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

ENVELOPES = {"command": "slash_commands", "interactive": "interactive", "event": "events_api"}


class SocketMode:
    """The open connections; each delivery goes to one of them, in turn."""

    def __init__(self, slack: Slack) -> None:
        self._slack = slack
        self._tickets: set[str] = set()
        self._acks: dict[str, tuple[WebSocket, asyncio.Future[JSON]]] = {}
        self.open: list[WebSocket] = []
        self._leaving: list[WebSocket] = []
        self._next = 0
        self.expected = False  # the bot has asked for a connection: events are for it, even while it is away

    def ticket(self) -> str:
        """A websocket URL that may be used once (`apps.connections.open`)."""
        self.expected = True
        ticket = secrets.token_hex(16)
        self._tickets.add(ticket)
        address = self._slack.base_url.replace("http", "ws", 1)
        return f"{address}/link/?ticket={ticket}&app_id={self._slack.company.workspace.app_id}"

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its hello to its end."""
        ticket = websocket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await websocket.close(1008)
            return
        self._tickets.discard(ticket)
        await websocket.accept()
        self.open.append(websocket)
        try:
            await websocket.send_json(self._hello())
            self._slack.changed()
            while True:
                self._acknowledged(await websocket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            self._closed(websocket)

    async def deliver(self, kind: str, payload: JSON, attempt: int) -> str:
        """Send one envelope, wait for its ack and return the payload in it as JSON, empty when it has none.

        `kind` is `command`, `interactive` or `event`; the deadline is the caller's. ConnectionError when the
        connection ends before the ack.
        """
        envelope: JSON = {
            "envelope_id": str(uuid.uuid4()),
            "payload": payload,
            "type": ENVELOPES[kind],
            "accepts_response_payload": kind != "event",
        }
        if kind == "event":
            envelope |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
        self._next += 1
        websocket = self.open[self._next % len(self.open)]
        ack: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        self._acks[envelope["envelope_id"]] = websocket, ack
        try:
            await websocket.send_json(envelope)
            answer = (await ack).get("payload")
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionError("the socket is closed") from error
        finally:
            del self._acks[envelope["envelope_id"]]
        return json.dumps(answer) if answer else ""

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Tell every connection to go, as Slack does every few hours: it gets nothing more, the bot opens another.

        After a `warning` it still gets envelopes for a while.
        """
        for websocket in tuple(self.open):
            await websocket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "sandbox"}})
            if reason != "warning":
                self.open.remove(websocket)
                self._leaving.append(websocket)
        self._slack.changed()

    async def cut(self) -> None:
        """Close every connection without a word."""
        for websocket in (*self.open, *self._leaving):
            self._closed(websocket)
            with contextlib.suppress(RuntimeError):
                await websocket.close()

    aclose = cut

    def _closed(self, websocket: WebSocket) -> None:
        for connections in (self.open, self._leaving):
            if websocket in connections:
                connections.remove(websocket)
        for owner, ack in self._acks.values():
            if owner is websocket and not ack.done():
                ack.set_exception(ConnectionError("the socket was closed before the ack"))
        self._slack.changed()

    def _acknowledged(self, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            return
        _, ack = self._acks.get(message.get("envelope_id", ""), (None, None))
        if ack and not ack.done():
            ack.set_result(message)

    def _hello(self) -> JSON:
        return {
            "type": "hello",
            "num_connections": len(self.open),
            "debug_info": {"host": "sandbox", "build_number": 1, "approximate_connection_time": 18060},
            "connection_info": {"app_id": self._slack.company.workspace.app_id},
        }

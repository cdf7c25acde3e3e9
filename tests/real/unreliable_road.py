"""What lies between an Alertmanager and the bot: a road on which the first deliveries get lost."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/webhooks/alertmanager"


@dataclass
class UnreliableRoad:
    """Answers the first `losses` deliveries with 503 and carries the others to `bot_url`, as they came.

    `deliveries` holds (body, status) of each, in order. A delivery waits until `bot_url` is known.
    """

    losses: int
    bot_url: asyncio.Future[str]
    deliveries: list[tuple[bytes, int]] = field(default_factory=list)

    def route(self) -> Route:
        return Route(PATH, self._carry, methods=["POST"])

    async def _carry(self, request: Request) -> Response:
        body = await request.body()
        answer = Response(status_code=503)
        if len(self.deliveries) >= self.losses:
            kept = {name: request.headers[name] for name in ("authorization", "content-type")}
            bot = f"{await self.bot_url}{PATH}"
            async with aiohttp.ClientSession() as session, session.post(bot, data=body, headers=kept) as told:
                answer = Response(await told.read(), told.status)
        self.deliveries.append((body, answer.status_code))
        return answer

"""`python -m sandbox`: the sandbox as a process of its own, which outlives a killed bot."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Annotated

import typer

from sandbox.clock import Clock
from sandbox.server import Sandbox


def main(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    bot_url: Annotated[str | None, typer.Option(help="Where the bot listens, http://127.0.0.1:3000.")] = None,
    speed: Annotated[float, typer.Option(help="Seconds of the world in one of ours.")] = 1.0,
    event: Annotated[
        list[str] | None, typer.Option(help="An event of Slack's that the app subscribes to; without any, all.")
    ] = None,
    retry_after: Annotated[
        list[float] | None,
        typer.Option(help="Seconds after which Slack sends an event again; given once for each try."),
    ] = None,
) -> None:
    """Serve the sandbox until SIGINT or SIGTERM. The first line of output is its base URL."""
    sandbox = Sandbox(bot_url=bot_url, clock=Clock(speed=speed))
    if event:
        sandbox.slack.subscriptions = set(event)
    if retry_after:
        sandbox.slack.deliveries.retry_delays = tuple(retry_after)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(sandbox, port))


async def _serve(sandbox: Sandbox, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with sandbox.serving(port) as base_url:
        typer.echo(base_url)
        await stop.wait()


if __name__ == "__main__":
    typer.run(main)

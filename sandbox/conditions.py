"""What an exercise finds in the sandbox besides the world's figures: images, endpoints and programs that misbehave."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sandbox.kubernetes.containers import Behaviour, Dump
from sandbox.server import Sandbox
from sandbox.world.scenario import Image, Strict


class Container(Strict):
    """A container of this image (a shell pattern; after a blank, what it runs) writes these lines and ends so."""

    do: Literal["container"]
    image: str
    log: tuple[str, ...] = ()
    exit_code: int = 0

    def act(self, sandbox: Sandbox) -> None:
        told = Behaviour(start=1, run=5, exit_code=self.exit_code, log=self.log)
        sandbox.kubernetes.behaviours.set(self.image, told)


class Unhealthy(Strict):
    """A health endpoint (a shell pattern of the path at the gateway) answers 503."""

    do: Literal["unhealthy"]
    where: str

    def act(self, sandbox: Sandbox) -> None:
        sandbox.faults.add("health", "status", self.where, times=None, status=503)


class DumpBreaks(Strict):
    """pg_dump loses its connection after so many bytes."""

    do: Literal["dump_breaks"]
    after: int = Field(ge=0)

    def act(self, sandbox: Sandbox) -> None:
        sandbox.kubernetes.programs.dump = Dump(fail_at=self.after)


class BadImage(Image):
    """What the image `service:tag` does to its service."""

    do: Literal["image"]
    image: str

    def act(self, sandbox: Sandbox) -> None:
        sandbox.world.images[self.image] = self.version()


Condition = Annotated[Container | Unhealthy | DumpBreaks | BadImage, Field(discriminator="do")]

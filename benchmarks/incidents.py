"""An incident that the other measurements need."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.place import Place, until


@dataclass(frozen=True, slots=True)
class Incident:
    id: str
    channel: str


async def declared(here: Place, severity: str = "SEV3") -> Incident:
    """Declare one of xr-engine, and wait until its channel is furnished and the bot is at rest."""
    await here.send(here.workspace.command(f"/incident declare Render lento sev={severity} service=xr-engine"))

    async def opened() -> Incident | None:
        for call in await here.calls("/conversations.create"):
            name = str(call["brought"].get("name", ""))  # its body may still be on its way
            channel = next((one["id"] for one in (await here.state("slack"))["channels"] if one["name"] == name), None)
            return channel and Incident("-".join(name.split("-")[:3]).upper(), channel)
        return None

    incident = await until(opened)
    await here.quiet()
    await here.forget()
    return incident

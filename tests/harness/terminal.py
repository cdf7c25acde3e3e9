"""Examples of docs/actions.md typed in a terminal, and approved and answered by others in terminals of their own."""

from __future__ import annotations

import asyncio
import shlex

from bot.actions.catalogue import ACTIONS
from bot.domain.run import Approval, WaitsFor
from demo.environment import sandbox_settings
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.harness.examples import XR, came_about, prepared, working
from tests.harness.play import LONG, Play
from tests.real import helm


async def does_it_from_a_terminal(stage: Play, name: str, *options: str) -> None:
    """Type an example, let others decide in terminals, and look at its end and at the world."""
    line = await prepared(stage, ACTIONS.get(name))
    known = {run.id for run in await stage.bot.deps.store.runs.recent()}
    typing = asyncio.create_task(typed(stage, line, *options))
    async with working(stage), asyncio.TaskGroup() as watching:
        deciding = watching.create_task(decided_in_terminals(stage, known, watching))
        ran = await typing
        deciding.cancel()
    run = next(run for run in await stage.bot.deps.store.runs.recent() if run.id not in known)
    assert (ran.code, ran.err) == (0, ""), (line, ran)
    assert f"✅ {name} — " in ran.out and ran.out.rstrip().endswith("succeeded"), ran.out
    assert run.by.terminal, "who typed it is known to have done so in a terminal"
    await came_about(stage, line, run)


async def typed(stage: Play, line: str, *options: str) -> Ran:
    """What `tamv-bot ops` answers Ana to an example, in English."""
    words = shlex.split(line.removeprefix("/ops "))
    return await tamv_bot("ops", *words, *options, "--as", "ana-torres", env=in_terminal(stage))


def in_terminal(stage: Play) -> dict[str, str]:
    """The environment of a terminal stage the bot, in English."""
    folder = stage.database.parent
    settings = sandbox_settings(
        stage.url, stage.sandbox, f"sqlite:///{stage.database}", "en", kubeconfig=str(folder / "kubeconfig"),
        team_dir=str(folder / "team"), helm=str(helm.helm()),
    )  # fmt: skip
    return environment(settings)


async def decided_in_terminals(stage: Play, known: set[str], watching: asyncio.TaskGroup) -> None:
    """Answer the question of a run that is not known, or let others approve it one after the other, in terminals
    that watch it to its end.
    """
    store, others = stage.bot.deps.store, iter(("bruno-diaz", "diego-ruiz"))

    async def asked() -> Approval | None:
        return next((one for one in await store.runs.waiting() if one.run_id not in known), None)

    while True:
        approval = await stage.until(asked, 10 * LONG)
        shown = (approval.run_id, approval.step_id, approval.digest)
        uses = (await store.runs.get(approval.run_id)).step("it").uses
        is_question = ACTIONS.get(uses).waits_for is WaitsFor.ANSWER
        words = ("answer", *shown, XR) if is_question else ("approve", *shown)
        who = "ana-torres" if is_question else next(others)

        async def is_decided(before: Approval = approval) -> bool:
            now = await store.runs.approval(before.run_id, before.step_id)
            return now != before

        with stage.slowly():  # a terminal takes seconds to start
            watching.create_task(succeeds(stage, *words, "--as", who))
            await stage.until(is_decided, LONG)


async def succeeds(stage: Play, *words: str) -> None:
    """A decision of `tamv-bot runbook` is taken, and the run that it watches succeeds."""
    ran = await tamv_bot("runbook", *words, env=in_terminal(stage))
    assert (ran.code, ran.err) == (0, ""), (words, ran)

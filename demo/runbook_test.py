"""`tamv-bot runbook test`: what is tested of each runbook, what is right, and how it is shown.

A runbook first has to succeed. That play says which steps asked for an approval, and which asked a service: each of
those approvals is then rejected, each of those steps made to fail, and the bot killed in the middle of a change.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BotError
from bot.domain.nearest import nearest
from bot.domain.run import Run, RunState, StepRun, StepState
from bot.domain.runbook import Runbook, Step
from bot.messages.text import as_text
from bot.messages.translations import Translations
from bot.runbooks import Library
from bot.settings import TeamSettings
from bot.team import TeamFile, load_team
from demo.company import PLURALS, is_the_worlds, workloads
from demo.runbook_run import CannotPlay, Case, Kind, Place, Played, copy_folder, play, usual_service

OF_THE_WORLD = ("aws", "github", "helm", "vault")  # services in which the sandbox has things of its own company only
FINE = {StepState.DONE, StepState.SKIPPED}
WIDTH = 80
CASE_WIDTH = 62  # characters for the runbook and the case, before the seconds
INDENT = "    "


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_PLAYED = "not_played"


MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.NOT_PLAYED: "-"}


@dataclass(frozen=True)
class Result:
    """What came of a case, after how many seconds; `why` says it in words unless it passed."""

    case: Case
    outcome: Outcome
    seconds: float = 0.0
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        case = {"runbook": self.case.runbook, "case": self.case.kind.value, "step": self.case.step}
        return case | {"result": self.outcome.value, "seconds": round(self.seconds, 1), "why": self.why}


class RunbookTest:
    """Tests runbooks of one team, each case in a sandbox and a folder of its own; `announce` is told what is played."""

    def __init__(self, place: Place, words: Translations, folder: Path, announce: Callable[[Case], None]) -> None:
        self._place = place
        self._words = words
        self._folder = folder
        self._announce = announce
        self._count = 0

    async def test(self, runbook: Runbook) -> AsyncIterator[Result]:
        """Yield the result of each case of a runbook, as soon as it is known."""
        succeeds = Case(runbook.name, Kind.SUCCEEDS)
        if why := self._unplayable(runbook):
            yield Result(succeeds, Outcome.NOT_PLAYED, 0.0, why)
            return
        usual, seconds = await self._play(runbook, succeeds)
        why = self._went_wrong(usual, runbook)
        yield self._result(succeeds, seconds, why)
        if why or usual.run is None:
            yield Result(Case(runbook.name, Kind.FAILS), Outcome.NOT_PLAYED, 0.0, self._say("only_after_success"))
            return
        for case, reason in self._cases(runbook, usual, usual.run):
            if reason:
                yield Result(case, Outcome.NOT_PLAYED, 0.0, reason)
                continue
            played, seconds = await self._play(runbook, case)
            yield self._result(case, seconds, self._judge(runbook, case, usual.run, played))

    async def _play(self, runbook: Runbook, case: Case) -> tuple[Played, float]:
        self._announce(case)
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        started = time.monotonic()
        return await play(self._place, runbook, case, folder), time.monotonic() - started

    @staticmethod
    def _result(case: Case, seconds: float, why: str) -> Result:
        return Result(case, Outcome.FAILED if why else Outcome.PASSED, seconds, why)

    def _say(self, part: str, **facts: object) -> str:
        return as_text(self._words.render_block("runbook_test", part, **facts), {})

    # What can be played.

    def _unplayable(self, runbook: Runbook) -> str:
        """Return why the sandbox cannot play a runbook; empty if it can."""
        named = f"{usual_service(runbook, self._place.team)} {[step.with_ for step in runbook.steps]}"
        for one in workloads(self._place.team):
            if one.kind not in PLURALS and (one.service in named or one.name in named):
                return self._say("no_kind", kind=one.kind, service=one.service)
        for step in runbook.steps:
            service = step.uses.partition(".")[0]
            if service in OF_THE_WORLD and not is_the_worlds(self._place.team):
                return self._say("not_in_sandbox", step=step.id, action=step.uses)
            if service == "helm" and not self._place.helm:
                return self._say("no_helm", step=step.id)
            if (service == "aws" or step.uses == "kubernetes.exec_dump") and importlib.util.find_spec("moto") is None:
                return self._say("no_moto", step=step.id)
        return ""

    def _cases(self, runbook: Runbook, usual: Played, run: Run) -> Iterator[tuple[Case, str]]:
        """Yield each further case, with why it cannot be played if so."""
        name = runbook.name
        for step_id in usual.approvals:
            yield Case(name, Kind.REJECTED, step_id), ""
        for step in runbook.steps:
            changes = bool(usual.asked.changes[step.id])
            case = Case(name, Kind.FAILS, step.id, changes_only=changes)
            if run.step(step.id).state is StepState.SKIPPED:
                yield case, self._say("skipped", step=step.id)
            elif not usual.asked.services.get(step.id) or step.uses.startswith(("flow.", "slack.", "migration.")):
                yield case, self._say("asks_nobody", step=step.id)
            else:
                yield case, ""
        count = usual.asked.all_changes or usual.asked.requests
        reason = "" if count else self._say("asks_no_service")
        yield Case(name, Kind.KILLED, None, bool(usual.asked.all_changes), (count + 1) // 2), reason

    # What is right.

    def _went_wrong(self, played: Played, runbook: Runbook) -> str:
        """Return why a play that nobody disturbed did not succeed; empty if it did."""
        if played.problem or played.run is None:
            return self._problem(played)
        run = played.run
        if run.state is RunState.SUCCEEDED:
            return ""
        failed = next((step for step in run.steps if step.state not in (*FINE, StepState.PENDING)), None)
        if step := run.stopped_at or failed:
            return self._say("step_failed", step=step.id, why=self._error(step))
        return self._say("ended", state=run.state, expected=RunState.SUCCEEDED)

    def _problem(self, played: Played) -> str:
        """Return why a run was not played to its end."""
        problem = played.problem or CannotPlay("not_in_time", step="")
        return self._say(problem.part, **problem.facts)

    def _judge(self, runbook: Runbook, case: Case, usual: Run, played: Played) -> str:
        """Return what is wrong with a disturbed play; empty if all is right."""
        if played.problem or played.run is None:
            return self._problem(played)
        if case.kind is Kind.KILLED:
            return self._judge_kill(usual, played, played.run)
        step = next(step for step in runbook.steps if step.id == case.step)
        if case.kind is Kind.FAILS:
            if not played.refused:
                return self._say("not_reached", step=step.id)
            return self._judge_failure(runbook, step, played, played.run, goes_on=step.continue_on_error)
        if played.asked.changes[step.id]:
            return self._say("changed_all_the_same", step=step.id)
        skips = step.approval is not None and step.approval.on_reject == "skip"
        return self._judge_failure(runbook, step, played, played.run, goes_on=skips or step.continue_on_error)

    def _judge_kill(self, usual: Run, played: Played, run: Run) -> str:
        if not played.killed:
            return self._say("not_killed")
        if run.state is not usual.state:
            return self._say("ended", state=run.state, expected=usual.state)
        for before, after in zip(usual.steps, run.steps, strict=True):
            if before.state is not after.state:
                return self._say("step_differs", step=before.id, state=after.state, expected=before.state)
        return ""

    def _judge_failure(self, runbook: Runbook, step: Step, played: Played, run: Run, *, goes_on: bool) -> str:
        """Judge what followed from a step that failed or was rejected."""
        failed = run.step(step.id)
        if failed.state is StepState.DONE:  # reading, it can do without what was refused: some metrics are missing
            return self._say("done_all_the_same", step=step.id) if played.asked.changes[step.id] else ""
        if goes_on:
            return "" if run.after(step.id) is None or self._went_on(run, step) else self._say("stopped", step=step.id)
        if run.state is RunState.SUCCEEDED:
            return self._say("succeeded_all_the_same", step=step.id)
        position = [one.id for one in run.steps].index(step.id)
        for later in run.steps[position + 1 :]:
            if later.state not in (StepState.PENDING, StepState.SKIPPED):
                return self._say("went_on", step=step.id, later=later.id)
        if runbook.on_failure == "undo":
            left = [one.id for one in run.steps[:position] if one.may_have_changed and _can_be_undone(runbook, one)]
            return self._say("not_undone", steps=left) if left else ""
        if runbook.on_failure != "stop" and not played.followed:
            return self._say("did_not_follow", runbook=runbook.on_failure)
        return ""

    @staticmethod
    def _went_on(run: Run, step: Step) -> bool:
        following = run.after(step.id)
        return following is None or run.step(following).state is not StepState.PENDING

    def _error(self, step: StepRun) -> str:
        return as_text(self._words.error(BotError(step.error or "unknown", **step.facts)), {})


def _can_be_undone(runbook: Runbook, step: StepRun) -> bool:
    keeps = next(one.keep for one in runbook.steps if one.id == step.id)
    return not keeps and ACTIONS.get(step.uses).undo is not None


@dataclass
class Tests:
    """The runbooks of a team to test; `locale` is the language of the team's bot."""

    team: TeamFile
    file_name: str
    runbooks: Mapping[str, Runbook]
    locale: str
    words: Translations
    _results: list[Result] = field(default_factory=list)

    async def run(self, *, as_json: bool) -> bool:
        """Test the runbooks one after the other. Prints each result; returns True if no case failed."""
        started = time.monotonic()
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
        with tempfile.TemporaryDirectory() as folder:
            file = copy_folder(self.team, Path(folder) / "team") / self.file_name
            place = Place(
                load_team(file),
                file,
                self.locale,
                self.team.incident_channel or "#incidents",
                shutil.which(os.environ.get("HELM") or "helm"),
            )
            test = RunbookTest(place, self.words, Path(folder), self._announce)
            for runbook in self.runbooks.values():
                async for result in test.test(runbook):
                    self._results.append(result)
                    self._print(result, sys.stderr if as_json else sys.stdout)
        count = Counter(result.outcome for result in self._results)
        if as_json:
            cases = [result.to_json() for result in self._results]
            sys.stdout.write(f"{json.dumps({'ok': not count[Outcome.FAILED], 'cases': cases}, ensure_ascii=False)}\n")
        else:
            facts = {outcome.value: count[outcome] for outcome in Outcome}
            seconds = round(time.monotonic() - started)
            summary = self.words.render_block("runbook_test", "summary", seconds=seconds, **facts)
            sys.stdout.write(f"{as_text(summary, {})}\n")
        return not count[Outcome.FAILED]

    def _announce(self, case: Case) -> None:
        """Show on a terminal what is being played; the next line replaces it."""
        if sys.stderr.isatty():
            name = self._name(case)
            said = self.words.render_block("runbook_test", "playing", runbook=case.runbook, name=name)
            sys.stderr.write(f"\r\x1b[K{as_text(said, {})[:WIDTH]}")
            sys.stderr.flush()

    def _print(self, result: Result, stream: TextIO) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        case = f"{result.case.runbook}: {self._name(result.case)}"
        if len(case) > CASE_WIDTH:
            case = f"{case[: CASE_WIDTH - 1]}…"
        seconds = f"{result.seconds:8.1f} s" if result.outcome is not Outcome.NOT_PLAYED else ""
        stream.write(f"{MARKS[result.outcome]} {case:<{CASE_WIDTH}}{seconds}".rstrip() + "\n")
        if result.why:
            lines = textwrap.wrap(result.why, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
            stream.write("\n".join(lines) + "\n")
        stream.flush()

    def _name(self, case: Case) -> str:
        return as_text(self.words.render_block("runbook_test", case.kind.value, step=case.step), {})


def read(settings: TeamSettings, words: Translations, names: Sequence[str]) -> Tests:
    """Read the team's folder. Raises BadInput for what is wrong in it, LookupError (in words) for an unknown name."""
    team = load_team(settings.team_file)
    library = Library.read(team.runbooks, ACTIONS, team)
    known = library.runbooks
    for name in names:
        if name not in known:
            facts = {"name": name, "folder": team.runbooks, "nearest": nearest(name, known)}
            raise LookupError(as_text(words.render_block("runbook_test", "unknown", **facts), {}))
    if not known:
        raise LookupError(as_text(words.render_block("runbook_test", "no_runbooks", folder=team.runbooks), {}))
    chosen = {name: known[name] for name in names or known}
    return Tests(team, settings.team_file.name, chosen, settings.locale, words)

"""What `tamv-bot` prints can be read at 80 columns: wrapped at words, below the beginning of the line."""

from __future__ import annotations

import os

import pytest

from tests.harness.command_line import run_tamv_bot

COLUMNS = 80
GIVEN = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def printed(*arguments: str, **env: str) -> list[str]:
    ran = run_tamv_bot(*arguments, env=GIVEN | {"COLUMNS": str(COLUMNS)} | env)
    assert ran.code == 0, ran.out + ran.err
    return ran.out.splitlines()


@pytest.mark.parametrize("lang", ["es", "en"])
@pytest.mark.parametrize(
    "command",
    ["runbook list", "runbook show render-latency", "runbook show security-incident", "--help", "runbook --help"],
)
def test_no_line_is_wider_than_the_terminal(command: str, lang: str) -> None:
    wide = [line for line in printed(*command.split(), LOCALE=lang) if len(line) > COLUMNS]
    # A drawing's lines have no places to break.
    assert not [line for line in wide if "-->" not in line and '["' not in line and '{"' not in line], wide


def test_a_long_step_goes_on_below_its_beginning() -> None:
    lines = printed("runbook", "show", "render-latency", LOCALE="en")
    first = next(number for number, line in enumerate(lines) if line.startswith("8. Back to the version before"))
    assert lines[first + 1].startswith("   approves")


def test_what_goes_into_a_file_is_not_wrapped() -> None:
    ran = run_tamv_bot("runbook", "show", "render-latency", env=GIVEN | {"LOCALE": "en"})
    assert max(map(len, ran.out.splitlines())) > COLUMNS

"""Wrong settings, folders and files: a line each with what is right, exit code 2, before anything listens."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness.command_line import run_tamv_bot

LIBRARIES_WORDS = re.compile(
    r"Traceback|File \"|pydantic|sqlalchemy|psycopg|Errno|Input should|Extra inputs|Field required|Value error"
    r"|<unicode string>|object at 0x|codec can't"
)
TEAM = "organisation: Acme\nteams: {Ops: {}}\nseverities: {SEV2: {title: Bad}}\n"
RUNBOOK = "name: look\ntitle: Look\nsteps: [{id: look, uses: flow.wait, with: {duration: 1m}}]\n"
TOKENS = {"SLACK_BOT_TOKEN": "xoxb-of-a-test", "SLACK_SIGNING_SECRET": "of-a-test"}


@dataclass(frozen=True)
class Wrong:
    """`lines` are the beginnings of what is said, or parts of it; `files` are written into the folder."""

    lines: list[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | bytes] = field(default_factory=dict)


def setting(name: str, value: str, said: str) -> Wrong:
    return Wrong([f"{name}: {said}"], {name: value})


def team(text: str | bytes, *said: str) -> Wrong:
    return Wrong([*said], files={"acme/team.yaml": text})


def added(text: str, *said: str) -> Wrong:
    return team(TEAM + text, *said)


def runbook(text: str | bytes, *said: str) -> Wrong:
    return Wrong([*said], files={"acme/runbooks/look.yaml": text})


def words(name: str, text: str, said: str) -> Wrong:
    return Wrong([said], files={f"acme/templates/{name}": text})


AT = "acme/team.yaml:"
NO_DATABASE = "the database cannot be opened: "
WRONG = {
    "port": setting("PORT", "many", "must be a whole number, such as 3"),
    "port too high": setting("PORT", "70000", "must be 65535 or less"),
    "language": setting("LOCALE", "fr", "must be one of en, es"),
    "level": setting("LOG_LEVEL", "loud", "must be one of 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    "format": setting("LOG_FORMAT", "xml", "must be one of 'text' or 'json'"),
    "days": setting("KEEP_RUNS", "0", "must be 1 or more"),
    "address": setting("PROMETHEUS_URL", "ftp://prometheus", "must be an address that begins with https://"),
    "no address": setting("HEARTBEAT_URL", "hc-ping", "must be an address that begins with https://"),
    "headers": setting("PROMETHEUS_HEADERS", "tenant", "must be Name=value, several separated by commas"),
    "repository": setting("GITHUB_REPOSITORY", "acme", "must be owner/name"),
    "certificates": setting("CA_BUNDLE", "none.pem", "is not a readable PEM file of certificates: No such file"),
    "no certificates": Wrong(["CA_BUNDLE: is not a readable PEM"], {"CA_BUNDLE": "ca.pem"}, {"ca.pem": "none"}),
    "secrets": setting("SECRETS_DIR", "secrets", "secrets is no folder"),
    "no token": setting("SLACK_BOT_TOKEN", "", "is not set"),
    "token of an example": setting("SLACK_BOT_TOKEN", "xoxb-…", "must be one word"),
    "token in two lines": setting("SLACK_APP_TOKEN", "xapp-1\nxapp-2", "must be one word"),
    "database of another kind": setting("DATABASE_URL", "mysql://a:hunter2@db/x", "must begin with sqlite:/// or"),
    "database without a port": setting("DATABASE_URL", "postgresql://a:hunter2@db:port/x", "must be postgresql://USER"),
    "database without a name": setting("DATABASE_URL", "postgresql://a:hunter2@db", "must be postgresql://USER"),
    "database in memory": setting("DATABASE_URL", "sqlite:///:memory:", "must name a file: sqlite:///tamv-bot.db"),
    "database below a file": setting("DATABASE_URL", "sqlite:///acme/team.yaml/bot.db", NO_DATABASE),
    "database that is none": setting("DATABASE_URL", "sqlite:///acme/team.yaml", NO_DATABASE),
    "database away": setting("DATABASE_URL", "postgresql://a:hunter2@127.0.0.1:1/x", NO_DATABASE),
    "host": Wrong(["nowhere.invalid"], {"HOST": "nowhere.invalid"}),
    ".env": Wrong([".env: is not UTF-8"], files={".env": b"LOCALE=\xff\n"}),
    "several": Wrong(["LOCALE: ", "PORT: ", "LOG_LEVEL: "], {"LOCALE": "fr", "PORT": "x", "LOG_LEVEL": "x"}),
    "folder": Wrong(["No such file or directory. Check TEAM_DIR"], {"TEAM_DIR": "elsewhere"}),
    "two folders": Wrong(["TEAM_DIR: acme does not contain BOT_CONFIG"], {"BOT_CONFIG": "other/team.yaml"}),
    "empty": team("", f"{AT}1:1: must be a mapping"),
    "a list": team("- Acme\n", f"{AT}1:1: must be a mapping"),
    "not YAML": team("services: [\n", f"{AT}2:1: is not valid YAML: "),
    "a control character": team("organisation: \x07\n", f"{AT}1:15: is not valid YAML: "),
    "not UTF-8": team(b"organisation: Caf\xe9\n", "it is not UTF-8"),
    "twice": added("teams: {Dev: {}}\n", f"{AT}4:1: duplicate key `teams`"),
    "in itself": added("services: &all {web: *all}\n", f"{AT}1:1: is nested too deeply, or contains itself"),
    "no such day": added("schedules: {tasks: {a: {title: A, first: 2026-02-31, every: 4w}}}\n", f"{AT}1:1: "),
    "nothing that is needed": team("timezone: UTC\n", f"{AT}1:1: organisation: is missing", "teams: is missing",
                                   "severities: is missing"),
    "unknown field": added("sevices: {}\n", f"{AT}4:1: sevices: unknown field `sevices`; did you mean `services`?"),
    "unknown field below": added("services: {web: {bord: x}}\n", "services.web.bord: unknown field `bord`; did you"),
    "unknown field of a query": added("queries: {a: {title: A, promql: up, treshold: 1}}", "did you mean `threshold`?"),
    "a number": added("policy: {limits: {replicas: many}}\n", "policy.limits.replicas: must be a whole number"),
    "a text": added("services: {web: {title: [a]}}\n", "services.web.title: must be a text"),
    "a mapping": added("services: [web]\n", f"{AT}4:1: services: must be a mapping: {{name: value}}"),
    "a list of names": added("services: {web: {owners: Ops}}\n", "services.web.owners: must be a list: [one, two]"),
    "a duration": added("targets: {mttr: soon}\n", "targets.mttr: must be a duration, such as 30s, 15m or 2h"),
    "a colour": added("app: {color: red}\n", "app.color: must have the form ^#[0-9A-Fa-f]{6}$"),
    "a severity": added("alerts: {default: SEV9}\n", "alerts.default: must be one of 'SEV1', 'SEV2', 'SEV3' or 'SEV4'"),
    "a time zone": added("timezone: Mars/Olympus\n", f"{AT}4:1: timezone: no time zone Mars/Olympus"),
    "an expression": added('services: {web: {health: {production: {url: "https://web", body: "("}}}}\n',
                           "is not a valid regular expression"),
    "names": added("default_service: web\nfollowups: {owner: Opps}\n", "default_service: no service `web`",
                   "followups.owner: no team `Opps`; did you mean `Ops`?"),
    "runbook: not YAML": runbook("steps: [\n", "look.yaml:2:1: is not valid YAML: "),
    "runbook: not UTF-8": runbook(b"name: \xff\n", "look.yaml:1:1: cannot be read: it is not UTF-8"),
    "runbook: empty": runbook("", "look.yaml:1:1: must be a mapping"),
    "runbook: another name": runbook(RUNBOOK.replace("name: look", "name: see"), "look.yaml:1:1: its name `see` "),
    "runbook: unknown action": runbook(RUNBOOK.replace("flow.wait", "flow.wat"), "did you mean `flow.wait`?"),
    "runbook: unknown field": runbook(f"{RUNBOOK}input: {{}}\n", "unknown field `input`; did you mean `inputs`?"),
    "runbook: unknown field of an input": runbook(f"{RUNBOOK}inputs: {{a: {{typ: string}}}}\n", "did you mean `type`?"),
    "runbook: wrong parameter": runbook(RUNBOOK.replace("1m", "soon"), "`duration` must be a duration, such as 30s"),
    "runbook: no text": runbook(RUNBOOK.replace("title: Look", "title: 7"), "look.yaml:2:1: title: must be a text, or"),
    "runbook: a folder": Wrong(["look.yaml:1:1: cannot be read: Is a "], files={"acme/runbooks/look.yaml/x": ""}),
    "words: unknown": words("en/messages/cards.j2", "", "did you mean `en/messages/card.j2`?"),
    "words: no template": words("en/messages/list.j2", "{% block %}", "list.j2:1:1: is no valid template"),
    "words: a block is missing": words(
        "en/messages/list.j2",
        "".join(f"{{% block {name} %}}{{% endblock %}}" for name in ("title", "none", "pages")),
        "list.j2:1:1: the block `line` is missing"),
    "words: not YAML": words("en/labels.yaml", "buttons: [", "labels.yaml:2:1: is not valid YAML"),
    "words: no such label": words("en/labels.yaml", "botons: {}", "botons: no such text; did you mean `buttons`?"),
    "words: no text": words("en/labels.yaml", "buttons: Press", "labels.yaml:1:1: buttons: must be a mapping"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A team's folder without a mistake."""
    for name, text in (("acme/team.yaml", TEAM), ("acme/runbooks/look.yaml", RUNBOOK)):
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str | bytes) -> None:
    if path.parent.is_file():
        path.parent.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_a_line_and_nothing_listens(name: str, folder: Path) -> None:
    wrong = WRONG[name]
    for path, text in wrong.files.items():
        write(folder / path, text)
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "PORT": "0", "LANG": "C.UTF-8", "LOCALE": "en"}
    ran = run_tamv_bot("serve", env={**env, **wrong.settings}, cwd=folder, seconds=90)
    assert ran.code == 2, ran
    assert not LIBRARIES_WORDS.search(ran.out + ran.err), ran.err
    assert "hunter2" not in ran.out + ran.err
    lines = [line for line in ran.err.splitlines() if line.strip()]
    assert len(lines) == len(wrong.lines), ran.err
    for said in wrong.lines:
        assert any(said in line for line in lines), ran.err


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "PORT": port}
        ran = run_tamv_bot("serve", env=env, cwd=folder)
    assert ran.code == 2 and f"127.0.0.1:{port}" in ran.err and len(ran.err.splitlines()) == 1, ran


MISTYPED = {
    "frobnicate": "tamv-bot: there is no command `frobnicate`. `tamv-bot --help` says",
    "srve": "tamv-bot: there is no command `srve`; did you mean `serve`? `tamv-bot --help` says",
    "db upgarde": "tamv-bot db: there is no command `upgarde`; did you mean `upgrade`? `tamv-bot db --help` says",
    "serve now": "tamv-bot serve: `now` is too much. `tamv-bot serve --help` says",
    "demo --spede 3": "tamv-bot demo: there is no option `--spede`; did you mean `--speed`?",
    "demo --speed 0": "tamv-bot demo: `--speed` must be 0.1 or more.",
    "demo --port 99999": "tamv-bot demo: `--port` must be 65535 or less.",
    "demo --lang fr": "tamv-bot demo: `--lang` must be one of en, es.",
    "demo --scenario nope": "Unknown scenario nope. Scenarios: ",
    "demo --auto --out text": "Cannot write to text: Not a directory. Choose another folder",
    "doctor --timeout never": "tamv-bot doctor: `--timeout` must be a number, such as 1.5.",
    "db restore": "tamv-bot db restore: `folder` is missing.",
    "db restore nowhere": "tamv-bot db restore: `folder` dir 'nowhere' does not exist.",
    "db backup text": "tamv-bot db backup: `folder` dir 'text' is a file.",
    "db backup new": "the database cannot be opened: file is not a database.",
    "db upgrade": "the database cannot be opened: file is not a database.",
    "incident list": "the database cannot be opened: file is not a database.",
    "runbook validate nowhere.yaml": "tamv-bot runbook validate: `files` path 'nowhere.yaml' does not exist.",
    "runbook test nope": "No runbook nope in ",
}


@pytest.mark.parametrize("typed", MISTYPED)
def test_a_wrong_command_line_is_one_line_with_the_way_on(typed: str, folder: Path) -> None:
    write(folder / "text", "no database, but words\n" * 100)
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en", "DATABASE_URL": "sqlite:///text"}
    ran = run_tamv_bot(*typed.split(), env=env, cwd=folder, seconds=90)
    assert (ran.code, len(ran.err.splitlines()), ran.out) == (2, 1, ""), ran
    assert MISTYPED[typed] in ran.err and not LIBRARIES_WORDS.search(ran.err), ran.err


def test_a_question_that_nobody_can_answer_says_how_none_is_asked(folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en"}
    ran = run_tamv_bot("init", "fresh", env=env, cwd=folder, seconds=90)
    assert ran.code == 2 and "Nobody answered, and nothing was written. `--yes` asks nothing." in ran.err, ran
    assert not (folder / "fresh").exists()


def test_it_is_said_in_the_terminals_language(folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], "LANG": "es_ES.UTF-8", "TEAM_DIR": "acme"}
    ran = run_tamv_bot("srve", env=env, cwd=folder)
    said = "tamv-bot: no hay ninguna orden `srve`; ¿querías decir `serve`? `tamv-bot --help` dice qué admite."
    assert (ran.code, ran.err.strip()) == (2, said)

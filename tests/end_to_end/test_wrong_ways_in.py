"""Wrong settings, folders and files: a line each with what is right, exit code 2, before anything listens."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer

from bot.command_line import cli
from bot.messages.translations import SHIPPED_NAMES
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
    "demo --lang fr": "tamv-bot demo: `--lang` must be one of these: en, es.",
    "demo --lang": "tamv-bot demo: `--lang` needs a value.",
    "demo --speed 500": "tamv-bot demo: `--speed` must be 120 or less.",
    "demo --port -1": "tamv-bot demo: `--port` must be 0 or more.",
    "doctor --json=yes": "tamv-bot doctor: `--json` takes no value.",
    "doctor --timeout 0": "tamv-bot doctor: `--timeout` must be 1 or more.",
    "doctor --team nowhere": "tamv-bot doctor: `--team`: nowhere does not exist.",
    "serve --team acme/runbooks": "acme/runbooks/team.yaml`: No such file or directory. Check TEAM_DIR or BOT_CONFIG",
    "init --lang fr": "tamv-bot init: `--lang` must be one of these: en, es.",
    "init acme --yes": "acme/team.yaml exists: choose another folder.",
    "init text --yes": "text cannot be written: Not a directory.",
    "manifest --url http://bot": "tamv-bot manifest: `--url` must be an address that begins with `https://`, as Slack",
    "rights --also nope": "Unknown action `nope`. `tamv-bot ops help` lists all actions.",
    "incident list --limit 0": "tamv-bot incident list: `--limit` must be 1 or more.",
    "runbook list --folder text": "tamv-bot runbook list: `--folder`: text is a file, and must be a folder.",
    "runbook new Look": "`Look` is no name: lower-case letters, digits and hyphens, such as restart-checkout.",
    "runbook new look": "acme/runbooks/look.yaml exists: choose another name.",
    "runbook answer R-1 ask digest": "tamv-bot runbook answer: `answer` is missing.",
    "ops": "tamv-bot ops: `line` is missing.",
    "db restore acme": "acme has no backup of this kind of database. Name the folder that `tamv-bot db backup` wrote.",
    "demo --scenario nope": "Unknown scenario nope. Scenarios: ",
    "demo --auto --out text": "Cannot write to text: Not a directory. Choose another folder",
    "doctor --timeout never": "tamv-bot doctor: `--timeout` must be a number, such as `1.5`.",
    "db restore": "tamv-bot db restore: `folder` is missing.",
    "db restore nowhere": "tamv-bot db restore: `folder`: nowhere does not exist.",
    "db backup text": "tamv-bot db backup: `folder`: text is a file, and must be a folder.",
    "db backup new": "the database cannot be opened: file is not a database.",
    "db upgrade": "the database cannot be opened: file is not a database.",
    "incident list": "the database cannot be opened: file is not a database.",
    "runbook validate nowhere.yaml": "tamv-bot runbook validate: `files`: nowhere.yaml does not exist.",
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


IN_SPANISH = {
    "srve": "tamv-bot: no hay ninguna orden `srve`; ¿querías decir `serve`? `tamv-bot --help` dice qué admite.",
    "demo --port -1": "tamv-bot demo: `--port` tiene que ser 0 o más. `tamv-bot demo --help` dice qué admite.",
    "demo --lang": "tamv-bot demo: `--lang` necesita un valor. `tamv-bot demo --help` dice qué admite.",
    "init --lang fr": "tamv-bot init: `--lang` tiene que ser uno de estos: en, es. `tamv-bot init --help` dice",
    "runbook list --folder x": "tamv-bot runbook list: `--folder`: x no existe. `tamv-bot runbook list --help` dice",
}


@pytest.mark.parametrize("typed", IN_SPANISH)
def test_it_is_said_in_the_terminals_language(typed: str, folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], "LANG": "es_ES.UTF-8", "TEAM_DIR": "acme"}
    ran = run_tamv_bot(*typed.split(), env=env, cwd=folder)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1) and IN_SPANISH[typed] in ran.err, ran


CLOSED = {  # a path of the folder that its user may not read or write, the command, what it says
    "acme/team.yaml": ("serve", "Cannot read `acme/team.yaml`: Permission denied. Check TEAM_DIR or BOT_CONFIG;"),
    "acme": ("runbook list", "Cannot read `acme/team.yaml`: Permission denied."),
    "acme/": ("init acme --yes", "tamv-bot init: `folder`: acme may not be read by this user."),
    "acme/runbooks": ("serve", "Cannot read `acme/runbooks`: Permission denied."),
    "acme/runbooks/": ("runbook validate", "Cannot read `acme/runbooks`: Permission denied."),
    "acme/runbooks/look.yaml": ("runbook list", "look.yaml:1:1: cannot be read: Permission denied"),
    ".env": ("serve", ".env or SECRETS_DIR: cannot be read: Permission denied"),
    "secrets": ("serve", "SECRETS_DIR: secrets may not be read by this user"),
    "bot.db": ("serve", "DATABASE_URL: the database cannot be opened: unable to open database file."),
    "bot.db.workflows": ("serve", "DATABASE_URL: the database cannot be opened: unable to open database file."),
    "here": ("db backup here/out", "The database could not be copied, and what was written is not whole: here/out:"),
}  # fmt: skip


@pytest.mark.parametrize("path", CLOSED)
def test_what_its_user_may_not_read_is_named(path: str, folder: Path) -> None:
    typed, said = CLOSED[path]
    for name in ("secrets", "here"):
        (folder / name).mkdir()
    write(folder / ".env", "LOCALE=en\n")
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en", "PORT": "0"}
    env |= {"DATABASE_URL": "sqlite:///bot.db"} | ({"SECRETS_DIR": "secrets"} if path == "secrets" else {})
    assert run_tamv_bot("db", "upgrade", env=env, cwd=folder, seconds=90).code == 0
    write(folder / "bot.db.workflows", "")
    (folder / path).chmod(0)
    try:
        ran = run_tamv_bot(*typed.split(), env=env, cwd=folder, seconds=90, powerless=True)
    finally:
        (folder / path).chmod(0o700)
    assert (ran.code, len(ran.err.splitlines()), ran.out) == (2, 1, ""), ran
    assert said in ran.err and not LIBRARIES_WORDS.search(ran.err), ran


def test_a_folder_and_a_database_that_can_only_be_read(folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en", "PORT": "0"}
    env |= {"DATABASE_URL": "sqlite:///bot.db"}
    assert run_tamv_bot("db", "upgrade", env=env, cwd=folder, seconds=90).code == 0
    (folder / "bot.db").chmod(0o400)
    said = {"serve": "the database cannot be opened: attempt to write a readonly database."}
    said |= {"db upgrade": "the database cannot be opened: attempt to write a readonly database."}
    said |= {"init new --yes": "new cannot be written: Permission denied."}
    said |= {"demo --auto --speed 100 --port 0": "Cannot write to out: Permission denied. Choose another folder"}
    folder.chmod(0o500)
    try:
        for typed, line in said.items():
            ran = run_tamv_bot(*typed.split(), env=env, cwd=folder, seconds=90, powerless=True)
            assert (ran.code, len(ran.err.splitlines())) == (2, 1) and line in ran.err, ran
    finally:
        folder.chmod(0o700)


def test_an_engines_file_that_is_no_database_is_said_before_anything_listens(folder: Path) -> None:
    write(folder / "bot.db.workflows", "no database, but words\n" * 100)
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en", "PORT": "0"}
    ran = run_tamv_bot("serve", env=env | {"DATABASE_URL": "sqlite:///bot.db"}, cwd=folder, seconds=90)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1) and f"{NO_DATABASE}file is not a database" in ran.err, ran


def test_a_database_that_another_process_holds(folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en", "PORT": "0"}
    env |= {"DATABASE_URL": "sqlite:///bot.db"}
    assert run_tamv_bot("db", "upgrade", env=env, cwd=folder, seconds=90).code == 0
    with contextlib.closing(sqlite3.connect(folder / "bot.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ran = run_tamv_bot("serve", env=env, cwd=folder, seconds=150)  # it waits half a minute for another's migration
    assert (ran.code, len(ran.err.splitlines())) == (2, 1) and "the database cannot be opened: database is locked" in (
        ran.err
    )


@pytest.mark.parametrize("bare", [{"LANG": "C", "LC_ALL": "C"}, {"TERM": "dumb"}, {}], ids=["C", "dumb", "nothing"])
def test_a_bare_environment_is_enough(bare: Mapping[str, str], folder: Path) -> None:
    env = {"TEAM_DIR": "acme", "LOCALE": "es", **bare}
    for typed, code, sign in (
        ("runbook list", 0, "look — Look"),
        ("manifest", 0, "incidente"),
        ("srve", 2, "¿querías"),
    ):
        ran = run_tamv_bot(*typed.split(), env=env, cwd=folder, seconds=90, stdin=False)
        assert ran.code == code and sign in ran.out + ran.err and "Traceback" not in ran.err, ran


def test_nobody_answers_where_the_input_is_closed(folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], "LOCALE": "en"}
    ran = run_tamv_bot("init", "fresh", env=env, cwd=folder, seconds=90, stdin=False)
    assert ran.code == 2 and "Nobody answered, and nothing was written. `--yes` asks nothing." in ran.err, ran


TOLD_TO_TYPE = {
    "runbook show nope": "Unknown runbook `nope`. `tamv-bot runbook list` lists all runbooks.",
    "runbook new other nope.action": "`tamv-bot ops help` lists all actions.",
    "ops frobnicate": "`tamv-bot ops` has no verb `frobnicate`.",
    "runbook run look extra": "Usage: `tamv-bot runbook run look`.",
}


@pytest.mark.parametrize("typed", TOLD_TO_TYPE)
def test_in_a_terminal_one_is_told_what_to_type_there(typed: str, folder: Path) -> None:
    write(folder / "acme/team.yaml", TEAM + "commands: {prefix: acme-}\n")
    env = {"PATH": os.environ["PATH"], **TOKENS, "TEAM_DIR": "acme", "LOCALE": "en", "DATABASE_URL": "sqlite:///bot.db"}
    ran = run_tamv_bot(*typed.split(), env=env, cwd=folder, seconds=90)
    assert ran.code == 1 and TOLD_TO_TYPE[typed] in ran.err and "/" not in ran.err, ran


def test_what_one_is_told_to_type_in_a_terminal_is_there() -> None:
    root = typer.main.get_command(cli)
    for name, verbs in (
        ("incident", ("list", "report")),
        ("runbook", ("list", "show", "run", "status", "cancel", "undo")),
    ):
        for verb in verbs:
            assert SHIPPED_NAMES.in_terminal(f"`/{name} {verb} x`") == f"`tamv-bot {name} {verb} x`"
            assert verb in root.commands[name].commands  # type: ignore[attr-defined]
    assert (
        SHIPPED_NAMES.in_terminal("`/ops help`, `/ops scale web 3`")
        == "`tamv-bot ops help`, `tamv-bot ops scale web 3`"
    )
    for only_in_slack in ("/ops thaw", "/ops freeze why", "/incident declare x", "see /runbooks/x", "a/ops x"):
        assert SHIPPED_NAMES.in_terminal(only_in_slack) == only_in_slack


def test_ops_help_lists_the_actions_in_a_terminal(folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], "TEAM_DIR": "acme", "LOCALE": "en"}
    ran = run_tamv_bot("ops", "help", env=env, cwd=folder, seconds=90)
    assert ran.code == 0 and "kubernetes" in ran.out and "tamv-bot ops help scale" in ran.out, ran
    one = run_tamv_bot("ops", "help", "scale", env=env, cwd=folder, seconds=90)
    assert one.code == 0 and "replicas" in one.out, one

"""The bot's GitHub client against the sandbox over HTTP, also when it fails in every way."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from bot.domain.errors import BotError, NotConfigured, Refused, Unavailable, WrongState
from bot.integrations.github.github import FOLLOWUP_LABEL, GitHub, Issue, IssueDraft, marker, verify_signature
from bot.integrations.github.session import App
from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.faults import Faults, FaultsMiddleware
from sandbox.github.api import routes
from sandbox.github.backend import APP_ID
from sandbox.github.backend import GitHub as Host
from sandbox.github.state import TOKEN
from sandbox.server import serving
from tests.contract.github_contract import OPENAPI, check_request, needs_openapi

REPOSITORY = "tamv/tamv-platform"
KEY = "INC-2026-0001/F1"
DUE = date(2026, 12, 31)


@dataclass
class World:
    """A host that is served, and a client of it."""

    host: Host
    faults: Faults
    base: str
    client: GitHub

    def another(
        self, token: str | None = TOKEN, repository: str = REPOSITORY, timeout: float = 8.0, **app: Any
    ) -> GitHub:
        url = f"{self.base}/github/api"
        return GitHub(token, repository, url, timeout, seconds_between_writes=0, **app)

    async def file(self, key: str = KEY, title: str = "Alert earlier", client: GitHub | None = None) -> Issue:
        return await (client or self.client).create_issue(
            key,
            IssueDraft(
                title,
                "p95 was over 500 ms for 20 minutes.",
                labels=("monitoring", "render"),
                milestone=("2026-Q4", DUE),
                assignees=("ana-torres",),
            ),
            since=self.host.clock.now() - timedelta(hours=2),
        )

    def writes(self) -> list[str]:
        return [f"{r.method} {r.path.rpartition('/')[2]}" for r in self.host.requests if r.method != "GET"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    host, faults = Host(load_company(), Clock(), index_delay=3600), Faults()
    app = Starlette(
        routes=[Mount("/github", routes=routes(host))],
        middleware=[Middleware(FaultsMiddleware, faults=faults)],
    )
    async with serving(app) as base:
        world = World(host, faults, base, GitHub(None, REPOSITORY))
        world.client = world.another()
        yield world
        if OPENAPI.exists():
            for request in host.requests:
                check_request(
                    request.method, request.path.removeprefix("/api").removeprefix("/v3"), request.query, request.body
                )
    await host.aclose()


Act = Callable[[World, GitHub], Awaitable[object]]
FILE: Act = lambda world, client: world.file(client=client)  # noqa: E731
READ: Act = lambda _, client: client.codeowners()  # noqa: E731
BOTH = pytest.mark.parametrize("act", [FILE, READ], ids=["file", "read"])


async def failure(act: Act, world: World, client: GitHub | None = None) -> BotError:
    with pytest.raises(BotError) as caught:
        await act(world, client or world.client)
    assert TOKEN not in str(caught.value) and TOKEN not in repr(caught.value.facts)
    return caught.value


@needs_openapi
async def test_what_is_sent_fits_the_published_description(world: World) -> None:
    """The fixture holds every request of every test against it; this one fails if it would hold none."""
    await world.file()
    issue = world.host.requests[-1]
    assert check_request(issue.method, issue.path.removeprefix("/api"), issue.query, issue.body)
    with pytest.raises(Exception, match="validation error"):
        check_request("POST", issue.path.removeprefix("/api"), {}, {"title": ["no", "text"]})


async def test_an_issue_is_filed_with_all_that_belongs_to_it(world: World) -> None:
    issue = await world.file(title="Alert\nearlier  " + "x" * 300)
    raw = world.host.issue(issue.number)
    assert issue == Issue(1, f"https://github.com/{REPOSITORY}/issues/1", raw.title, "open", ("ana-torres",))
    assert raw.title.startswith("Alert earlier x") and len(raw.title) == 256
    assert raw.body == f"p95 was over 500 ms for 20 minutes.\n\n<!-- tamv-bot:{KEY} -->"
    assert raw.labels == [FOLLOWUP_LABEL, "monitoring", "render"]
    milestone = world.host.milestone(raw.milestone or 0)
    assert (milestone.title, milestone.due_on) == ("2026-Q4", datetime(2026, 12, 31, 8, tzinfo=UTC))
    assert world.host.label(FOLLOWUP_LABEL).color == "b60205"


async def test_the_second_time_finds_the_first_though_search_does_not_know_it_yet(world: World) -> None:
    first = await world.file()
    before = len(world.writes())
    await world.host.person("bruno").close(first.number)
    second = await world.file(title="Other words")
    assert (second.number, second.state, second.title) == (first.number, "closed", "Alert earlier")
    assert second.closed_at is not None
    assert len(world.writes()) == before
    assert (await world.client.create_issue(KEY, IssueDraft("without a date", "x"))).number == first.number
    assert (await world.file("INC-2026-0001/F2")).number == 2
    assert world.writes().count("POST labels") == 2 and world.writes().count("POST milestones") == 1


async def test_the_first_is_found_behind_a_hundred_others(world: World) -> None:
    first = await world.file()
    for number in range(120):
        world.host.tracker.open(f"other {number}", "", "tamv-bot", labels=[FOLLOWUP_LABEL])
    assert (await world.file()).number == first.number


async def test_a_key_in_somebodys_words_passes_for_none(world: World) -> None:
    text = f"see {marker('INC-2026-0001/F2')}"
    since = world.host.clock.now()
    one = await world.client.create_issue("INC-2026-0001/F1", IssueDraft("x", text), since=since)
    two = await world.client.create_issue("INC-2026-0001/F2", IssueDraft("y", "z"), since=since)
    assert one.number != two.number


@pytest.mark.parametrize("key", ["", "a b", "-->", "a-->b", "a--b", "a\nb"])
def test_a_key_cannot_end_the_marker(key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        marker(key)


async def test_who_cannot_be_assigned_is_said_and_the_issue_is_made(world: World) -> None:
    wanted = ["SRETeam", "Ana-Torres", "nobody"]
    world.host.assignable.discard("bruno-diaz")
    since = world.host.clock.now()
    issue = await world.client.create_issue(
        KEY, IssueDraft("x", "y", assignees=("ana-torres", "bruno-diaz")), since=since
    )
    assert (issue.assignees, issue.unassigned) == (("ana-torres",), ("bruno-diaz",))
    issue = await world.client.create_issue("other", IssueDraft("x", "y", assignees=tuple(wanted[:1])), since=since)
    assert (issue.assignees, issue.unassigned) == ((), ("SRETeam",))
    assert (await world.client.create_issue(KEY, IssueDraft("x", "y"), since=since)).unassigned == ()


async def test_a_long_body_keeps_its_marker(world: World) -> None:
    since = world.host.clock.now()
    issue = await world.client.create_issue(KEY, IssueDraft("x", "ñ" * 70_000), since=since)
    body = world.host.issue(issue.number).body or ""
    assert len(body) == 65_536 and body.endswith(marker(KEY))


async def test_issues_are_read_and_closed(world: World) -> None:
    filed = await world.file()
    assert await world.client.issue(filed.number) == filed
    await world.client.close_issue(filed.number)
    await world.client.close_issue(filed.number)
    closed = await world.client.issue(filed.number)
    assert closed.state == "closed" and closed.closed_at is not None
    problem = await failure(lambda _, client: client.issue(99), world)
    assert (type(problem), problem.facts["status"], problem.facts["why"]) == (Refused, 404, "Not Found")


async def test_codeowners_from_each_of_its_places(world: World) -> None:
    assert await world.client.codeowners() == world.host.company.github.codeowners
    main = world.host.commit_of("main")
    del main.files[".github/CODEOWNERS"]
    assert await world.client.codeowners() is None
    main.files["docs/CODEOWNERS"] = "* @tamv/ñandú\n"
    assert await world.client.codeowners() == "* @tamv/ñandú\n"


async def test_a_manifest_is_found_and_changed_once_on_a_branch(world: World) -> None:
    code, before, after = world.client.code, "replicas: 2  # two\n", "replicas: 3  # two\n"
    world.host.commit("deploy/web/web.yaml", before, "Web")
    world.host.commit("deploy/web/deeper/x.yaml", "a: 1\n", "Deeper")
    head = await code.head()
    assert head
    assert await code.manifests("/deploy/web/", head[0]) == {"deploy/web/web.yaml": before}
    assert await code.manifests("nowhere", head[0]) == {}
    await code.create_branch("change/1", *head)
    for _ in range(2):
        await code.write_file("change/1", "deploy/web/web.yaml", before, after, "Three")
    assert world.host.files("change/1")[1]["deploy/web/web.yaml"] == after
    assert len(world.writes()) == 2, "the branch, and one commit"
    world.host.commit("deploy/web/web.yaml", "replicas: 9\n", "Somebody else")
    with pytest.raises(WrongState):
        await code.write_file("main", "deploy/web/web.yaml", before, after, "Three")


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        (f"https://github.com/{REPOSITORY}.git", True),
        (f"https://bot:secret@GitHub.com/{REPOSITORY}/", True),
        (f"git@github.com:{REPOSITORY}.git", True),
        (f"ssh://git@github.com/{REPOSITORY}", True),
        (f"https://ghe.tamv.world/{REPOSITORY}.git", False),
        ("https://github.com/tamv/another.git", False),
    ],
)
async def test_an_address_of_git_is_known_however_it_is_written(world: World, address: str, is_ours: bool) -> None:
    assert await world.client.code.is_at(address) is is_ours


async def test_recent_deployments(world: World) -> None:
    deploy = world.host.actions.deploy
    deploy("main", "production", "bruno-diaz", "success", payload={"service": "xr-engine"}, description="v1")
    deploy("main", "production", "bruno-diaz", "failure", payload='{"service": "xr-engine"}')
    deploy("main", "production", "bruno-diaz", "success", payload={"service": "isabella-ai"})
    deploy("main", "staging", "fran-ortiz", "in_progress", payload="")
    found = await world.client.recent_deployments("xr-engine")
    assert [(one.environment, one.service, one.state) for one in found] == [
        ("staging", None, "in_progress"),
        ("production", "xr-engine", "failure"),
        ("production", "xr-engine", "success"),
    ]
    assert (found[2].creator, found[2].description, found[2].ref) == ("bruno-diaz", "v1", "main")
    assert len(await world.client.recent_deployments(environment="production", limit=2)) == 2


async def test_the_commit_of_a_tag_and_how_its_checks_ended(world: World) -> None:
    sha = world.host.branches["main"]
    world.host.tags["v2.5.0"] = sha
    for ref in ("v2.5.0", "main", sha, sha[:8]):
        assert await world.client.code.commit(ref) == sha
    for ref in ("v9.9.9", "0000000", "hotfix/nothing"):
        assert await world.client.code.commit(ref) is None
    world.host.code.check("main", "lint", "success")
    world.host.code.check("main", "trivy")
    assert await world.client.code.checks(sha) == {"lint": "success", "trivy": None}


async def test_check_says_as_whom_and_what_is_left(world: World) -> None:
    said = await world.client.check()
    assert said.startswith(f"{REPOSITORY} as tamv-bot, 499") and said.endswith("of 5000 requests left")
    problem = await failure(lambda _, client: client.check(), world, world.another(repository="tamv/other"))
    assert (type(problem), problem.facts["status"]) == (Refused, 404)


async def test_a_github_app_signs_in(world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    client = world.another(token=None, app=App(APP_ID, pem.replace("\n", "\\n")))
    assert (await world.file(client=client)).number == 1
    assert f"{REPOSITORY} as app" in await client.check()
    stranger = world.another(token=None, app=App("1", pem))
    problem = await failure(FILE, world, stranger)
    assert (type(problem), problem.facts["status"]) == (Refused, 401)
    problem = await failure(FILE, world, world.another(token=None, app=App(APP_ID, "no key")))
    assert (type(problem), problem.key) == (Refused, "github_key_wrong")
    assert "no key" not in repr(problem.facts)


async def test_what_was_not_configured_is_said(world: World) -> None:
    assert isinstance(await failure(READ, world, world.another(token=None)), NotConfigured)


async def test_a_wrong_token_is_refused(world: World) -> None:
    problem = await failure(READ, world, world.another(token="ghp_wrong"))
    assert (type(problem), problem.facts["status"], problem.facts["why"]) == (Refused, 401, "Bad credentials")


async def test_what_github_refuses_is_said_in_its_words(world: World) -> None:
    since = world.host.clock.now()
    problem = await failure(lambda _, client: client.create_issue(KEY, IssueDraft(" ", "x"), since=since), world)
    assert isinstance(problem, Refused)
    assert problem.facts["why"] == "Validation Failed: title missing_field"


@BOTH
async def test_the_hours_limit_says_when_it_ends(world: World, act: Act) -> None:
    world.host.rate_limit = 0
    async with deadline(1):
        problem = await failure(act, world)
    assert isinstance(problem, Unavailable) and problem.key == "rate_limited"
    assert 3000 < (problem.retry_after or 0) <= 3600


@BOTH
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "45"}, 45),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 7200)}, 7200),
        ({}, 60),
    ],
    ids=["retry-after", "x-ratelimit", "neither"],
)
async def test_the_secondary_limit_says_when_to_come_back(
    world: World, act: Act, headers: dict[str, str], wait: int
) -> None:
    """Each of the three answers that GitHub documents: as a 403 and, in `ratelimit` above, as a 429."""
    world.host.limit_secondary(headers)
    problem = await failure(act, world)
    assert isinstance(problem, Unavailable) and 0.9 * wait <= (problem.retry_after or 0) <= wait
    assert len(world.host.requests) == 1  # nothing waited and tried again in the thread
    await act(world, world.client)


@BOTH
async def test_a_429_says_when_to_come_back(world: World, act: Act) -> None:
    world.faults.add("github", "ratelimit", retry_after=7)
    problem = await failure(act, world)
    assert isinstance(problem, Unavailable) and problem.retry_after == 7


@BOTH
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_of_theirs_may_pass(world: World, act: Act, status: int) -> None:
    broken = world.faults.add("github", "status", times=None, status=status)
    problem = await failure(act, world)
    assert isinstance(problem, Unavailable) and problem.facts["status"] == status
    assert broken.used == 1


@BOTH
async def test_the_deadline_holds_when_nobody_answers(world: World, act: Act) -> None:
    world.faults.add("github", "hang", times=None, seconds=60)
    async with deadline(2):
        problem = await failure(act, world, world.another(timeout=0.5))
    assert isinstance(problem, Unavailable) and problem.key == "timed_out"


@pytest.mark.parametrize("kind", ["drop_after", "hang"])
async def test_a_lost_answer_makes_no_second_issue(world: World, kind: str) -> None:
    await world.file("another")  # labels and milestone are there
    world.faults.add("github", kind, "POST */issues", times=1, seconds=60)  # type: ignore[arg-type]
    problem = await failure(FILE, world, world.another(timeout=4.0))
    assert isinstance(problem, Unavailable) and problem.uncertain
    await world.file()
    assert len(world.host.issues) == 2


@BOTH
@pytest.mark.parametrize("body", [None, "[1, 2", "null", "[]", '"hello"', '{"surprise": true}', "[[1]]"])
async def test_nonsense_is_named_so(world: World, act: Act, body: str | None) -> None:
    world.faults.add("github", "nonsense", times=None, body=body)
    problem = await failure(act, world)
    assert isinstance(problem, Unavailable) and problem.key == "nonsense"
    assert world.host.issues == {}


@BOTH
async def test_nobody_listens(world: World, act: Act) -> None:
    client = GitHub(TOKEN, REPOSITORY, "http://127.0.0.1:9", 4.0)
    problem = await failure(act, world, client)
    assert isinstance(problem, Unavailable)
    assert (problem.key, problem.facts["why"], problem.uncertain) == ("unreachable", "Connection refused", False)


async def test_many_at_once_do_not_mix_up(world: World) -> None:
    await world.file("first")
    issues = await asyncio.gather(*(world.file(f"key-{n}", f"title {n}") for n in range(12)))
    for number, issue in enumerate(issues):
        assert (issue.title, world.host.issue(issue.number).title) == (f"title {number}",) * 2
        assert (world.host.issue(issue.number).body or "").endswith(marker(f"key-{number}"))


async def test_labels_and_milestone_that_somebody_makes_meanwhile(world: World) -> None:
    issues = await asyncio.gather(*(world.file(f"key-{n}") for n in range(6)))
    assert len({issue.number for issue in issues}) == 6
    assert len(world.host.milestones) == 1


async def test_writes_keep_their_distance(world: World) -> None:
    url = f"{world.base}/github/api"
    client = GitHub(TOKEN, REPOSITORY, url, 20.0, seconds_between_writes=0.2)
    before = time.monotonic()
    await world.file(client=client)
    assert world.writes() == ["POST labels", "POST labels", "POST milestones", "POST issues"]
    assert time.monotonic() - before >= 0.6


async def test_every_check_of_a_name_counts_and_of_a_status_the_newest(world: World) -> None:
    code = world.host.code
    code.add_branch("hotfix", world.host.branches["main"])
    code.put_file("x", "x", "X", "ana-torres", branch="hotfix", replaces=None)
    number = code.open_pull("X", None, "hotfix", "main", "ana-torres").issue.number
    code.check("hotfix", "tests", "success")
    code.check("hotfix", "tests", "failure", app="another-ci")
    for context in (*(f"scan {n}" for n in range(40)), "lint"):  # more than a page of the combined status
        code.set_status("hotfix", context, "pending")
        code.set_status("hotfix", context, "success" if context != "lint" else "failure")
    checks = (await world.client.code.pull(number)).checks
    assert (checks["tests"], checks["lint"], checks["scan 39"], len(checks)) == ("failure", "failure", "success", 42)
    code.check("hotfix", "tests", "success", app="another-ci")
    code.set_status("hotfix", "lint", "success")
    assert (await world.client.code.pull(number)).missing_checks == []


async def test_a_repository_that_was_renamed_is_found_with_all_that_is_asked_of_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first = await world.file()
    await world.host.person("bruno").close(first.number)
    world.host.rename("platform")
    client = world.another()
    assert (await world.file(client=client)).number == first.number, "the filter for closed ones is not lost"
    assert (await world.file("another", client=client)).number == 2, "what is written arrives"
    assert await client.code.open_pull("nowhere", "main") is None
    assert (await client.check()).startswith("tamv/platform as tamv-bot")
    assert "is called tamv/platform now: change GITHUB_REPOSITORY" in caplog.text
    assert await client.code.is_at(f"https://github.com/{REPOSITORY}.git"), "Argo CD may still have the former address"
    assert await client.code.is_at("git@github.com:tamv/platform.git")


async def test_a_default_branch_of_another_name(world: World) -> None:
    world.host.rename_default_branch("trunk")
    head = await world.client.code.head()
    assert head and head[0] == "trunk"
    assert await world.client.codeowners() == world.host.company.github.codeowners
    assert await world.client.code.head("main") is None


async def test_a_repository_without_issues_says_so(world: World) -> None:
    world.host.has_issues = False
    for act in (FILE, lambda _, client: client.issue(1), lambda _, client: client.check()):
        problem = await failure(act, world)
        assert (type(problem), problem.key, problem.facts["repository"]) == (Refused, "github_no_issues", REPOSITORY)


async def test_a_closed_milestone_takes_the_issue_and_stays_closed(world: World) -> None:
    milestone = world.host.tracker.add_milestone("2026-Q4", "ana-torres")
    world.host.tracker.edit_milestone(milestone, state="closed")
    filed = await world.file()
    assert world.host.issue(filed.number).milestone == milestone.number
    assert [one.state for one in world.host.milestones.values()] == ["closed"]


async def test_assignees_that_are_dropped_in_silence_are_said(world: World) -> None:
    world.host.can_assign = False  # a token without push access
    filed = await world.file()
    assert (filed.assignees, filed.unassigned) == ((), ("ana-torres",))


async def test_the_address_of_github_enterprise(world: World) -> None:
    world.host.rate_limit = None  # its default
    client = GitHub(TOKEN, REPOSITORY, f"{world.base}/github/api/v3/", 8.0, seconds_between_writes=0)
    assert await client.check() == f"{REPOSITORY} as tamv-bot"
    assert (await world.file(client=client)).number == 1
    assert {request.path[:8] for request in world.host.requests} == {"/api/v3/"}


def test_signatures() -> None:
    body = b'{"action": "closed"}'
    header = f"sha256={hmac.new(b'secret', body, hashlib.sha256).hexdigest()}"
    assert verify_signature(header, body, "secret")
    assert not verify_signature(header, body + b" ", "secret")
    assert not verify_signature(header, body, "other")
    for wrong in ("", "sha256=", "sha1=abc", "sha256=ñ", header.upper()):
        assert not verify_signature(wrong, body, "secret")
    assert not verify_signature(f"sha256={hmac.new(b'', body, hashlib.sha256).hexdigest()}", body, "")
    # GitHub's own example: docs.github.com, "Validating webhook deliveries"
    theirs = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert verify_signature(theirs, b"Hello, World!", "It's a Secret to Everybody")

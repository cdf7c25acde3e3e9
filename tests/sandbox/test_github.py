"""The sandbox's GitHub over HTTP: who one is, limits, issues, labels, milestones, search."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.github.state import TOKEN
from tests.contract.github_contract import needs_openapi
from tests.sandbox.github_client import REPO, Client, serving_github

ISSUES = f"{REPO}/issues"


@pytest.fixture
async def github() -> AsyncIterator[Client]:
    async with serving_github() as client:
        yield client


@needs_openapi
async def test_answers_fit_the_published_description(github: Client) -> None:
    """The one test that fails when answers are not checked at all."""
    await github.call("GET", REPO)
    await github.call("POST", ISSUES, {"title": "x"})
    await github.call("GET", f"{ISSUES}/1")
    assert github.checked == [f"GET {REPO} 200", f"POST {ISSUES} 201", f"GET {ISSUES}/1 200"]


async def test_who_one_is_and_what_there_is(github: Client) -> None:
    assert (await github.call("GET", "/user")).json["login"] == "tamv-bot"
    assert (await github.call("GET", "/users/ana-torres")).json["name"] == "Ana Torres"
    repo = (await github.call("GET", REPO)).json
    assert (repo["full_name"], repo["default_branch"]) == ("tamv/tamv-platform", "main")
    team = (await github.call("GET", "/orgs/tamv/teams/sreteam")).json
    assert (team["name"], team["members_count"]) == ("SRETeam", 2)
    members = (await github.call("GET", "/orgs/tamv/teams/sreteam/members")).json
    assert [member["login"] for member in members] == ["ana-torres", "bruno-diaz"]
    for path in ("/users/nobody", "/orgs/tamv/teams/nobody", "/repos/tamv/other", "/repos/other/tamv-platform/issues"):
        assert (await github.call("GET", path)).status == 404
    assert (await github.call("GET", "/orgs/tamv")).json["login"] == "tamv"


async def test_links_have_the_host_that_the_client_uses(github: Client) -> None:
    named = github.base.replace("127.0.0.1", "localhost")
    for base in (github.base, named):
        github.base = base
        issue = (await github.call("POST", ISSUES, {"title": "x"})).json
        assert issue["url"].startswith(f"{base}/github/api/repos/tamv/tamv-platform/issues/")
        assert issue["repository_url"].startswith(base) and issue["user"]["url"].startswith(base)


@pytest.mark.parametrize(
    ("authorization", "message"), [("", "Requires authentication"), ("token wrong", "Bad credentials")]
)
async def test_a_token_is_needed(github: Client, authorization: str, message: str) -> None:
    answer = await github.call("GET", "/user", headers={"Authorization": authorization})
    assert (answer.status, answer.json["message"]) == (401, message)


async def test_the_hours_requests_are_counted(github: Client) -> None:
    github.backend.rate_limit = 2
    first = await github.call("GET", "/user")
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("2", "1")
    await github.call("GET", "/user")
    limited = await github.call("GET", "/user")
    assert limited.status == 403
    assert limited.json["message"].startswith("API rate limit exceeded")
    assert int(limited.headers["X-RateLimit-Reset"]) > github.backend.clock.now().timestamp()
    assert (await github.call("GET", "/rate_limit")).json["rate"]["remaining"] == 0


async def test_the_secondary_limit_says_when_to_come_back(github: Client) -> None:
    github.backend.limit_secondary({"Retry-After": "30"})
    limited = await github.call("POST", ISSUES, {"title": "x"})
    assert (limited.status, limited.headers["Retry-After"]) == (403, "30")
    assert "secondary rate limit" in limited.json["message"]
    assert (await github.call("POST", ISSUES, {"title": "x"})).status == 201


async def test_an_issue_is_made_with_all_that_belongs_to_it(github: Client) -> None:
    await github.call("POST", f"{REPO}/milestones", {"title": "2026-Q4", "due_on": "2026-12-31T23:59:59Z"})
    wanted = {
        "title": "Alert earlier",
        "body": "p95 over 500 ms",
        "labels": ["incident-followup", "monitoring"],
        "assignees": ["ana-torres"],
        "milestone": 1,
    }
    issue = (await github.call("POST", ISSUES, wanted)).json
    assert [label["name"] for label in issue["labels"]] == ["incident-followup", "monitoring"]
    assert [user["login"] for user in issue["assignees"]] == ["ana-torres"]
    assert issue["milestone"]["title"] == "2026-Q4"
    assert issue["user"]["login"] == "tamv-bot"
    listed = (await github.call("GET", ISSUES, labels="incident-followup", state="all")).json
    assert [found["number"] for found in listed] == [issue["number"]]


async def test_who_cannot_be_assigned(github: Client) -> None:
    for assignee in ("nobody", "SRETeam", "@tamv/SRETeam"):
        answer = await github.call("POST", ISSUES, {"title": "x", "assignees": ["ana-torres", assignee]})
        assert answer.status == 422
        assert answer.json["errors"][0]["field"] == "assignees"
        assert answer.json["errors"][0]["value"] == [assignee]
    assert github.backend.issues == {}
    await github.call("POST", ISSUES, {"title": "x"})
    answer = await github.call("POST", f"{ISSUES}/1/assignees", {"assignees": ["nobody", "ana-torres"]})
    assert [user["login"] for user in answer.json["assignees"]] == ["ana-torres"]
    assert (await github.call("GET", f"{REPO}/assignees/ana-torres")).status == 204
    assert (await github.call("GET", f"{REPO}/assignees/SRETeam")).status == 404
    answer = await github.call("DELETE", f"{ISSUES}/1/assignees", {"assignees": ["ana-torres"]})
    assert answer.json["assignees"] == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"body": "no title"}, "title"),
        ({"title": " "}, "title"),
        ({"title": "t" * 257}, "title"),
        ({"title": "x", "body": "b" * 65537}, "body"),
        ({"title": "x", "milestone": 9}, "milestone"),
    ],
)
async def test_a_wrong_issue_is_refused(github: Client, wrong: dict[str, object], field: str) -> None:
    answer = await github.call("POST", ISSUES, wrong)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


async def test_broken_json_is_refused(github: Client) -> None:
    url = f"{github.base}/github/api{ISSUES}"
    async with github.http.post(url, data=b'{"title": ', headers=github.headers) as answer:
        assert (answer.status, (await answer.json())["message"]) == (400, "Problems parsing JSON")


async def test_an_issue_is_edited_closed_and_reopened(github: Client) -> None:
    await github.call("POST", ISSUES, {"title": "x", "labels": ["bug"]})
    one = f"{ISSUES}/1"
    closed = (await github.call("PATCH", one, {"state": "closed", "state_reason": "not_planned"})).json
    assert (closed["state"], closed["state_reason"], closed["closed_by"]["login"]) == (
        "closed",
        "not_planned",
        "tamv-bot",
    )
    assert (await github.call("GET", ISSUES)).json == []
    opened = (await github.call("PATCH", one, {"state": "open", "title": "y", "labels": ["monitoring"]})).json
    assert (opened["state"], opened["closed_at"], opened["title"]) == ("open", None, "y")
    assert [label["name"] for label in opened["labels"]] == ["monitoring"]
    assert (await github.call("PATCH", one, {"state": "gone"})).status == 422
    assert (await github.call("GET", f"{ISSUES}/99")).status == 404


async def test_comments_and_labels_of_an_issue(github: Client) -> None:
    await github.call("POST", ISSUES, {"title": "x"})
    made = await github.call("POST", f"{ISSUES}/1/comments", {"body": "still open?"})
    assert made.json["body"] == "still open?"
    assert len((await github.call("GET", f"{ISSUES}/1/comments")).json) == 1
    assert (await github.call("POST", f"{ISSUES}/1/comments", {"body": " "})).status == 422
    added = await github.call("POST", f"{ISSUES}/1/labels", {"labels": ["bug", "new-one"]})
    assert [label["name"] for label in added.json] == ["bug", "new-one"]
    replaced = await github.call("PUT", f"{ISSUES}/1/labels", {"labels": ["monitoring", "bug"]})
    assert [label["name"] for label in replaced.json] == ["monitoring", "bug"]
    left = await github.call("DELETE", f"{ISSUES}/1/labels/bug")
    assert [label["name"] for label in left.json] == ["monitoring"]
    assert len((await github.call("GET", f"{ISSUES}/1/labels")).json) == 1


async def test_lists_come_in_pages_with_links(github: Client) -> None:
    for number in range(5):
        await github.call("POST", ISSUES, {"title": f"issue {number}"})
    page = await github.call("GET", ISSUES, per_page="2", page="2", state="all")
    assert [issue["number"] for issue in page.json] == [3, 2]
    assert f'{github.base}/github/api{ISSUES}?per_page=2&page=3&state=all>; rel="next"' in page.headers["Link"]
    assert 'rel="last"' in page.headers["Link"]
    last = await github.call("GET", ISSUES, per_page="2", page="3", state="all")
    assert len(last.json) == 1 and 'rel="next"' not in last.headers["Link"]


async def test_labels(github: Client) -> None:
    wanted = {"name": "incident-followup", "color": "B60205", "description": "promised after an incident"}
    assert (await github.call("POST", f"{REPO}/labels", wanted)).json["color"] == "b60205"
    again = await github.call("POST", f"{REPO}/labels", wanted)
    assert (again.status, again.json["errors"][0]["code"]) == (422, "already_exists")
    assert (await github.call("POST", f"{REPO}/labels", {"name": "x", "color": "red"})).status == 422
    assert (await github.call("GET", f"{REPO}/labels/Incident-Followup")).status == 200
    assert (await github.call("GET", f"{REPO}/labels/none")).status == 404
    assert len((await github.call("GET", f"{REPO}/labels")).json) == 3


async def test_milestones_keep_a_day(github: Client) -> None:
    wanted = {"title": "2026-Q4", "due_on": "2026-12-31T23:59:59Z"}
    made = (await github.call("POST", f"{REPO}/milestones", wanted)).json
    assert made["due_on"] == "2026-12-31T08:00:00Z"
    assert (await github.call("POST", f"{REPO}/milestones", wanted)).json["errors"][0]["code"] == "already_exists"
    changed = await github.call("PATCH", f"{REPO}/milestones/1", {"state": "closed"})
    assert changed.json["closed_at"]
    assert (await github.call("GET", f"{REPO}/milestones")).json == []
    assert len((await github.call("GET", f"{REPO}/milestones", state="all")).json) == 1
    assert (await github.call("GET", f"{REPO}/milestones/1")).json["title"] == "2026-Q4"
    assert (await github.call("POST", f"{REPO}/milestones", {"title": "x", "due_on": "soon"})).status == 422


async def test_search_finds_by_words_labels_and_places(github: Client) -> None:
    await github.call("POST", ISSUES, {"title": "Alert earlier", "body": "key INC-1:2", "labels": ["bug"]})
    await github.call("POST", ISSUES, {"title": "INC-1:2 in the title"})
    queries = {
        "repo:tamv/tamv-platform is:issue in:body INC-1:2": [1],
        'repo:tamv/tamv-platform "key INC-1:2"': [1],
        "repo:tamv/tamv-platform INC-1:2": [2, 1],
        "repo:tamv/tamv-platform label:bug is:open": [1],
        "repo:tamv/tamv-platform is:closed": [],
        "repo:tamv/tamv-platform is:pr": [],
    }
    for query, numbers in queries.items():
        found = (await github.call("GET", "/search/issues", q=query)).json
        assert ([i["number"] for i in found["items"]], found["total_count"]) == (numbers, len(numbers)), query
    assert (await github.call("GET", "/search/issues", q="repo:other/repo x")).status == 422
    assert (await github.call("GET", "/search/issues", q="")).status == 422


async def test_the_search_index_is_behind() -> None:
    async with serving_github(index_delay=60) as github:
        await github.call("POST", ISSUES, {"title": "fresh"})
        assert (await github.call("GET", "/search/issues", q="fresh")).json["total_count"] == 0
        assert len((await github.call("GET", ISSUES)).json) == 1
        github.backend.clock.speed = 1_000_000
        while not (await github.call("GET", "/search/issues", q="fresh")).json["total_count"]:
            pass


async def test_state_and_requests_can_be_looked_at(github: Client) -> None:
    await github.call("POST", ISSUES, {"title": "x"})
    async with github.http.get(f"{github.base}/github/state") as answer:
        text = await answer.text()
    assert '"title":"x"' in text and TOKEN not in text
    [request] = github.backend.requests
    assert (request.method, request.path, request.body) == ("POST", f"/api{ISSUES}", {"title": "x"})

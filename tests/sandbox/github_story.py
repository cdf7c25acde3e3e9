"""Everything that people and machines can do at the sandbox's GitHub, once."""

from __future__ import annotations

from sandbox.github.backend import GitHub


async def everything(github: GitHub) -> None:
    ana, bruno = github.person("ana"), github.person("bruno")
    issue = await ana.open("Alert earlier", "p95", "incident-followup")
    await ana.assign(issue, "bruno-diaz")
    await bruno.comment(issue, "done")
    await bruno.close(issue)
    await ana.reopen(issue.number)
    github.tracker.edit(issue, {"title": "Alert much earlier", "labels": [], "assignees": []}, "ana-torres")
    code = github.code
    code.add_branch("hotfix", github.branches["main"])
    code.put_file("x.yaml", "x: 1\n", "Edit", "ana-torres", branch="hotfix", replaces=None)
    pull = code.open_pull("Hotfix", None, "hotfix", "main", "ana-torres")
    code.request_reviewers(pull, ["bruno-diaz"], [], "ana-torres")
    await bruno.approve(pull)
    await bruno.merge(pull)
    run = github.actions.dispatch(github.workflow("cd_canary.yml"), "main", {}, "ana-torres")
    github.actions.start(run)
    github.actions.complete(run)

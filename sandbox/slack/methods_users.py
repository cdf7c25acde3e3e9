"""auth.*, api.*, apps.*, bots.*, users.* and usergroups.*"""

from __future__ import annotations

from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.errors import SlackError
from sandbox.slack.shapes import bot_profile, permalink_base, user_json, usergroup_json
from sandbox.slack.state import JSON


def api_test(_slack: Slack, arguments: Arguments) -> JSON:
    if "error" in arguments:
        raise SlackError(arguments.text("error"), args=arguments.recorded())
    return {"args": arguments.recorded()}


def auth_test(slack: Slack, _arguments: Arguments) -> JSON:
    workspace = slack.company.workspace
    return {
        "url": f"{permalink_base(slack)}/",
        "team": workspace.name,
        "user": workspace.bot_name,
        "team_id": workspace.team_id,
        "user_id": workspace.bot_user_id,
        "bot_id": workspace.bot_id,
        "is_enterprise_install": False,
    }


def connections_open(slack: Slack, _arguments: Arguments) -> JSON:
    return {"url": slack.sockets.ticket()}


def bots_info(slack: Slack, arguments: Arguments) -> JSON:
    workspace = slack.company.workspace
    if arguments.text("bot", workspace.bot_id) != workspace.bot_id:
        raise SlackError("bot_not_found")
    profile = bot_profile(slack)
    del profile["team_id"]
    return {"bot": profile | {"user_id": workspace.bot_user_id}}


def users_info(slack: Slack, arguments: Arguments) -> JSON:
    user = slack.users.get(arguments.text("user"))
    if user is None:
        raise SlackError("user_not_found")
    return {"user": user_json(slack, user, locale=arguments.boolean("include_locale"))}


def users_list(slack: Slack, arguments: Arguments) -> JSON:
    locale = arguments.boolean("include_locale")
    return {
        "members": [user_json(slack, user, locale=locale) for user in slack.users.values()],
        "cache_ts": int(slack.now()),
        "response_metadata": {"next_cursor": ""},
    }


def users_lookup_by_email(slack: Slack, arguments: Arguments) -> JSON:
    email = arguments.text("email").lower()
    for user in slack.users.values():
        if email and user.email == email:
            return {"user": user_json(slack, user)}
    raise SlackError("users_not_found")


def usergroups_list(slack: Slack, arguments: Arguments) -> JSON:
    users = arguments.boolean("include_users")
    return {"usergroups": [usergroup_json(slack, group, users=users) for group in slack.usergroups.values()]}


def usergroups_users_list(slack: Slack, arguments: Arguments) -> JSON:
    group = slack.usergroups.get(arguments.required("usergroup"))
    if group is None:
        raise SlackError("no_such_subteam")
    return {"users": list(group.users)}


METHODS = {
    "api.test": api_test,
    "apps.connections.open": connections_open,
    "auth.test": auth_test,
    "bots.info": bots_info,
    "usergroups.list": usergroups_list,
    "usergroups.users.list": usergroups_users_list,
    "users.info": users_info,
    "users.list": users_list,
    "users.lookupByEmail": users_lookup_by_email,
}

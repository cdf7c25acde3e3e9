"""The JSON of Slack's objects, as Web API responses, events and interactions have them."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from sandbox.slack.state import JSON, Channel, File, Message, User, UserGroup, View, Workspace


def user_json(workspace: Workspace, user: User, *, locale: bool = False) -> JSON:
    team = workspace.company.workspace.team_id
    first, _, last = user.real_name.partition(" ")
    body: JSON = {
        "id": user.id,
        "team_id": team,
        "name": user.name,
        "deleted": user.kind == "deactivated",
        "color": "9f69e7",
        "real_name": user.real_name,
        "tz": user.tz,
        "tz_label": user.tz.rpartition("/")[2].replace("_", " "),
        "tz_offset": round((datetime.now(ZoneInfo(user.tz)).utcoffset() or timedelta()).total_seconds()),
        "profile": {
            "title": user.title,
            "phone": "",
            "skype": "",
            "real_name": user.real_name,
            "real_name_normalized": user.real_name,
            "display_name": user.name,
            "display_name_normalized": user.name,
            "status_text": "",
            "status_emoji": "",
            "status_expiration": 0,
            "avatar_hash": "",
            "first_name": first,
            "last_name": last,
            "team": team,
        },
        "is_admin": False,
        "is_owner": False,
        "is_primary_owner": False,
        "is_restricted": user.kind == "guest",
        "is_ultra_restricted": False,
        "is_bot": user.is_bot,
        "is_app_user": False,
        "updated": 0,
    }
    if user.is_bot:
        body["profile"] |= {"api_app_id": workspace.company.workspace.app_id, "bot_id": user.bot_id}
    else:
        body["profile"]["email"] = user.email
    if locale:
        body["locale"] = user.locale
    return body


def usergroup_json(workspace: Workspace, group: UserGroup, *, users: bool = False) -> JSON:
    body: JSON = {
        "id": group.id,
        "team_id": workspace.company.workspace.team_id,
        "is_usergroup": True,
        "is_subteam": True,
        "name": group.name,
        "description": "",
        "handle": group.handle,
        "is_external": False,
        "date_create": 0,
        "date_update": 0,
        "date_delete": 0,
        "auto_provision": False,
        "enterprise_subteam_id": "",
        "created_by": group.users[0],
        "updated_by": group.users[0],
        "prefs": {"channels": [], "groups": []},
        "channel_count": 0,
        "user_count": len(group.users),
    }
    if users:
        body["users"] = list(group.users)
    return body


def channel_json(workspace: Workspace, channel: Channel, *, num_members: bool = False) -> JSON:
    team = workspace.company.workspace.team_id
    if channel.is_im:
        return {
            "id": channel.id,
            "created": channel.created,
            "is_archived": False,
            "is_im": True,
            "is_org_shared": False,
            "user": channel.im_user,
            "is_user_deleted": False,
            "priority": 0,
            "context_team_id": team,
            "updated": channel.created * 1000,
        }
    body: JSON = {
        "id": channel.id,
        "name": channel.name,
        "is_channel": not channel.is_private,
        "is_group": channel.is_private,
        "is_im": False,
        "created": channel.created,
        "is_archived": channel.is_archived,
        "is_general": channel.is_general,
        "unlinked": 0,
        "name_normalized": channel.name,
        "is_shared": False,
        "creator": channel.creator,
        "is_ext_shared": False,
        "is_org_shared": False,
        "shared_team_ids": [team],
        "pending_shared": [],
        "pending_connected_team_ids": [],
        "is_pending_ext_shared": False,
        "is_member": workspace.bot_user.id in channel.members,
        "is_private": channel.is_private,
        "is_mpim": False,
        "topic": channel.topic.as_json(),
        "purpose": channel.purpose.as_json(),
        "previous_names": list(channel.previous_names),
        "context_team_id": team,
        "updated": channel.created * 1000,
    }
    if num_members:
        body["num_members"] = len(channel.members)
    return body


def message_json(workspace: Workspace, message: Message, *, metadata: bool = True) -> JSON:
    company = workspace.company.workspace
    body: JSON = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text}
    if message.subtype:
        body["subtype"] = message.subtype
    else:
        body["team"] = company.team_id
    if message.bot_id:
        body |= {"bot_id": message.bot_id, "app_id": company.app_id, "bot_profile": bot_profile(workspace)}
    optional = {
        "blocks": message.blocks,
        "attachments": message.attachments,
        "username": message.username,
        "edited": message.edited,
        "thread_ts": message.thread_ts,
        "metadata": message.metadata if metadata else None,
        "files": [file_json(workspace, workspace.files[id]) for id in message.files],
        "reactions": [
            {"name": name, "users": list(people), "count": len(people)} for name, people in message.reactions.items()
        ],
    }
    body |= {key: value for key, value in optional.items() if value}
    if message.files:
        body["upload"] = True
    if message.ts in workspace.channels[message.channel].pins:
        body["pinned_to"] = [message.channel]
    return body | message.extra | _thread(workspace, message)


def _thread(workspace: Workspace, message: Message) -> JSON:
    if message.thread_ts != message.ts:
        return {}
    replies = [m for m in workspace.channels[message.channel].messages.values() if m.thread_ts == message.ts][1:]
    return {
        "reply_count": len(replies),
        "reply_users": sorted({m.user for m in replies}),
        "reply_users_count": len({m.user for m in replies}),
        "latest_reply": replies[-1].ts if replies else message.ts,
        "is_locked": False,
        "subscribed": False,
    }


def bot_profile(workspace: Workspace) -> JSON:
    company = workspace.company.workspace
    return {
        "id": company.bot_id,
        "app_id": company.app_id,
        "name": company.bot_name,
        "icons": {},
        "deleted": False,
        "updated": 0,
        "team_id": company.team_id,
    }


def file_json(workspace: Workspace, file: File) -> JSON:
    suffix = file.name.rpartition(".")[2] if "." in file.name else "text"
    url = f"{workspace.base_url}/files-pri/{workspace.company.workspace.team_id}-{file.id}"
    name = quote(file.name, safe="")
    shares: dict[str, list[JSON]] = {
        id: [
            {
                "ts": ts,
                "channel_name": workspace.channels[id].name,
                "team_id": workspace.company.workspace.team_id,
                "share_user_id": file.user,
                "reply_users": [],
                "reply_users_count": 0,
                "reply_count": 0,
            }
            for ts in times
        ]
        for id, times in file.shares.items()
    }
    return {
        "id": file.id,
        "created": file.created,
        "timestamp": file.created,
        "name": file.name,
        "title": file.title or file.name,
        "mimetype": file.mimetype,
        "filetype": suffix,
        "pretty_type": suffix.upper(),
        "user": file.user,
        "user_team": workspace.company.workspace.team_id,
        "editable": False,
        "size": file.size,
        "mode": "hosted",
        "is_external": False,
        "external_type": "",
        "is_public": True,
        "public_url_shared": False,
        "display_as_bot": False,
        "username": "",
        "url_private": f"{url}/{name}",
        "url_private_download": f"{url}/download/{name}",
        "permalink": f"{permalink_base(workspace)}/files/{file.user}/{file.id}/{name}",
        "comments_count": 0,
        "is_starred": False,
        "shares": {"public": shares} if shares else {},
        "channels": list(file.shares),
        "groups": [],
        "ims": [],
        "has_more_shares": False,
        "has_rich_preview": False,
        "file_access": "visible",
        **({"alt_txt": file.alt_text} if file.alt_text else {}),
    }


def view_json(workspace: Workspace, view: View) -> JSON:
    company = workspace.company.workspace
    body: JSON = {
        "id": view.id,
        "team_id": company.team_id,
        "type": view.type,
        "private_metadata": "",
        "callback_id": "",
        "external_id": "",
        "clear_on_close": False,
        "notify_on_close": False,
        "title": {"type": "plain_text", "text": "View Title", "emoji": True},
        "close": None,
        "submit": None,
        **view.body,
        "state": {"values": view.values},
        "hash": view.hash,
        "previous_view_id": view.previous_id,
        "root_view_id": view.root_id,
        "app_id": company.app_id,
        "app_installed_team_id": company.team_id,
        "bot_id": company.bot_id,
    }
    return body


def permalink_base(workspace: Workspace) -> str:
    return f"https://{workspace.company.workspace.domain}.slack.com"


def permalink(workspace: Workspace, message: Message) -> str:
    link = f"{permalink_base(workspace)}/archives/{message.channel}/p{message.ts.replace('.', '')}"
    return f"{link}?thread_ts={message.thread_ts}&cid={message.channel}" if message.is_reply else link

"""Slack's errors, and what the bot does about each.

An error means the same in every method, except for those in `_IN_METHOD`. Names: the "Errors" sections of
https://docs.slack.dev/reference/methods for the methods that the bot calls; those of `response_url`, which is
documented by no list, are HTTP statuses and texts.
"""

from __future__ import annotations

from enum import Enum


class Reaction(Enum):
    """What to do about an error."""

    AGAIN = "again"  # it passes: try again
    ADMIN = "admin"  # an administrator can fix it (token, scope, membership, plan): keep trying, and say so
    ELSEWHERE = "elsewhere"  # the place is closed: archived, gone, full
    DIFFERENTLY = "differently"  # change the request: shorter, plainer, without one of the people
    ALREADY = "already"  # it is done
    NEVER = "never"  # the same request is never accepted: a mistake of the bot


def reaction_to(method: str, error: str) -> Reaction:
    """Return what to do about an error of a method; unknown errors are tried again, because a late message is better
    than a lost one.
    """
    return _IN_METHOD.get((method, error)) or _EVERYWHERE.get(error, Reaction.AGAIN)


_NAMES: dict[Reaction, str] = {
    Reaction.AGAIN: """
        external_channel_migrating fatal_error file_update_failed hash_conflict internal_error
        list_record_comment_fetch_failed message_limit_exceeded org_login_required rate_limited ratelimited
        request_timeout rollup_error service_unavailable streaming_state_conflict team_added_to_org
        too_many_requests update_failed
        """,
    Reaction.ADMIN: """
        access_denied accesslimited account_inactive action_prohibited app_access_restricted
        channel_is_limited_access ekm_access_denied enterprise_is_restricted file_uploads_disabled
        file_uploads_except_images_disabled forbidden forbidden_team invalid_auth is_bot
        messages_tab_disabled metadata_must_be_sent_from_app missing_args missing_scope no_permission
        no_such_subteam not_allowed_token_type not_authed not_enabled not_in_channel permission_denied
        plan_upgrade_required posting_to_channel_denied restricted_action
        restricted_action_read_only_channel slack_connect_team_blocked storage_limit_reached
        team_access_not_granted token_expired token_revoked two_factor_setup_required user_is_bot
        user_is_restricted user_is_ultra_restricted
        """,
    Reaction.ELSEWHERE: """
        block_mismatch bot_not_found cannot_create_channel cant_update_message channel_is_archived
        channel_not_found edit_window_closed expired_trigger_id expired_url invalid_channel is_archived
        is_inactive message_not_found not_implemented thread_not_found too_many_bookmarks
        too_many_convos_for_app_on_team too_many_convos_for_team too_many_pins too_many_tabs used_url
        user_not_found user_not_in_channel user_not_visible users_not_found
        """,
    Reaction.DIFFERENTLY: """
        alt_txt_too_large app_cannot_join_channel cannot_reply_to_message cant_invite file_type_not_allowed
        file_upload_size_restricted invalid_blocks invalid_blocks_format invalid_cursor invalid_link
        invalid_name invalid_name_maxlength invalid_name_punctuation invalid_name_required
        invalid_name_specials invitee_cant_see_channel msg_blocks_too_long msg_too_long no_channel
        no_external_invite_permission org_user_not_in_team restricted_action_non_threadable_channel
        restricted_action_thread_locked restricted_action_thread_only_channel
        slack_connect_canvas_link_sharing_blocked slack_connect_canvas_sharing_blocked
        slack_connect_file_link_sharing_blocked slack_connect_lists_sharing_blocked too_long too_many_users
        ura_max_channels view_too_large
        """,
    Reaction.ALREADY: """
        already_in_channel already_pinned cant_invite_self exchanged_trigger_id file_already_added
        name_taken
        """,
    Reaction.NEVER: """
        as_user_not_supported attachment_payload_limit_exceeded bad_timestamp blocked_file_type
        bots_not_found cannot_bookmark_from_external_org cannot_bookmark_restricted_sharing_enabled
        cant_broadcast_message canvas_disabled_user_team channels_limit_exceeded deprecated_endpoint
        draft_already_deleted draft_already_sent draft_has_conflict draft_not_found
        duplicate_channel_not_found duplicate_external_id duplicate_message_not_found file_comment_not_found
        file_deleted file_is_deleted file_not_found file_not_shared file_share_limit_reached
        insecure_request invalid_app_action_type invalid_arg_name invalid_arguments invalid_array_arg
        invalid_attachments invalid_bookmark_type invalid_charset invalid_child_type invalid_emoji
        invalid_entity_id invalid_form_data invalid_json invalid_limit invalid_metadata_filter_keys
        invalid_metadata_format invalid_metadata_schema invalid_parent_type invalid_payload
        invalid_post_type invalid_shortcut_type invalid_team invalid_trigger_id invalid_ts_latest
        invalid_ts_oldest invalid_types invalid_users json_not_object markdown_text_conflict
        max_file_sharing_exceeded metadata_too_large method_deprecated method_not_supported_for_channel_type
        missing_argument missing_charset missing_file_data missing_post_type missing_profile_id
        no_dual_broadcast_content_update no_item_specified no_text no_user not_pinnable
        pagination_not_available parent_bookmark_disabled parent_with_link send_on_behalf_not_allowed
        slack_connect_blocked_file_type slack_connect_clip_sharing_blocked
        slack_connect_file_upload_sharing_blocked snippet_too_large superfluous_charset team_not_found
        too_many_attachments too_many_contact_cards unable_to_share_files unknown_method
        unknown_snippet_type unknown_subtype upgrade_require upgrade_required
        """,
}
_EVERYWHERE = {error: reaction for reaction, names in _NAMES.items() for error in names.split()}
_IN_METHOD = {
    ("chat.postEphemeral", "invalid_arguments"): Reaction.DIFFERENTLY,
    ("chat.postEphemeral", "not_in_channel"): Reaction.ELSEWHERE,
    ("chat.postMessage", "invalid_arguments"): Reaction.DIFFERENTLY,
    ("chat.postMessage", "team_not_found"): Reaction.DIFFERENTLY,
    ("chat.update", "invalid_arguments"): Reaction.DIFFERENTLY,
    ("conversations.create", "user_not_found"): Reaction.NEVER,
    ("conversations.invite", "no_permission"): Reaction.DIFFERENTLY,
    ("conversations.invite", "user_is_restricted"): Reaction.DIFFERENTLY,
    ("conversations.invite", "user_is_ultra_restricted"): Reaction.DIFFERENTLY,
    ("conversations.invite", "user_not_found"): Reaction.DIFFERENTLY,
    ("files.completeUploadExternal", "access_denied"): Reaction.NEVER,
    ("files.completeUploadExternal", "file_not_found"): Reaction.AGAIN,
    ("files.completeUploadExternal", "invalid_blocks"): Reaction.NEVER,
    ("pins.add", "not_in_channel"): Reaction.ELSEWHERE,
    ("response_url", "HTTP 404"): Reaction.ELSEWHERE,
    ("response_url", "HTTP 410"): Reaction.ELSEWHERE,
    ("response_url", "HTTP 429"): Reaction.AGAIN,
    ("response_url", "HTTP 500"): Reaction.AGAIN,
    ("users.info", "too_many_users"): Reaction.NEVER,
    ("views.open", "invalid_arguments"): Reaction.DIFFERENTLY,
    ("views.publish", "invalid_arguments"): Reaction.DIFFERENTLY,
    ("views.publish", "not_implemented"): Reaction.ADMIN,
}

"""Secrets that change while the bot runs: in the files of SECRETS_DIR, or in `.env`."""

from __future__ import annotations

import asyncio
import logging

from bot.settings import Settings, WrongSettings, load_settings, secret_files, with_secrets_of

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0  # a Secret reaches the files of its pods within a minute anyway


async def rotated(settings: Settings) -> Settings:
    """Wait until a secret has changed, and return the settings with the secrets as they are then.

    What is wrong in the files is logged, without values, and what was read before stays in use. Other settings than
    secrets stay as they are.
    """
    seen = await asyncio.to_thread(secret_files, settings)
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if (now := await asyncio.to_thread(secret_files, settings)) == seen:
            continue
        seen = now
        try:
            changed = with_secrets_of(settings, await asyncio.to_thread(load_settings))
        except WrongSettings as wrong:
            for line in wrong.lines:
                log.error("the secrets are not used, the previous ones stay: %s", line)
            continue
        if changed:
            log.info("secrets were changed; going on with the new ones")
            return changed

"""`GET /status`: the public status page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bot.domain.errors import BotError
from bot.messages.status_page import status_page_html
from bot.services.bot import Bot
from bot.services.status_page import FRESH

HEADERS = {
    "Cache-Control": f"public, max-age={FRESH.seconds}",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Language",
    "X-Content-Type-Options": "nosniff",
}
HEADER_LIMIT = 500  # characters of Accept-Language that are read


class StatusPageHandler:
    def __init__(self, bot: Bot) -> None:
        self._deps = bot.deps
        self._pages = bot.status_pages

    async def show(self, request: Request) -> Response:
        """200 with the page in the reader's language; 503 with a page that says so when it is not known."""
        deps = self._deps
        locale = self._locale(request)
        try:
            page = await self._pages.current()
        except BotError:
            page = None
        text = status_page_html(
            page, deps.team, deps.words_by_locale[locale], now=deps.clock.now(), languages=list(deps.words_by_locale)
        )
        headers = {**HEADERS, "Content-Language": locale}
        if page is None:
            headers |= {"Cache-Control": "no-store", "Retry-After": str(FRESH.seconds)}
        return HTMLResponse(text, 503 if page is None else 200, headers)

    def _locale(self, request: Request) -> str:
        """Return the language that is asked for by `?lang=`, else the first that the browser prefers, else the
        channels'.
        """
        known = self._deps.words_by_locale
        asked = request.query_params.get("lang", "")
        preferred = _by_preference(request.headers.get("accept-language", "")[:HEADER_LIMIT])
        return next((one for one in (asked, *preferred) if one in known), self._deps.locale)


def _by_preference(header: str) -> list[str]:
    """Return the languages of Accept-Language (RFC 9110, 12.5.4), the most preferred first, without their regions."""
    weighted: list[tuple[float, str]] = []
    for entry in header.split(","):
        tag, _, quality = entry.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if weight > 0:
            weighted.append((-weight, tag.partition("-")[0].lower()))
    return [language for _, language in sorted(weighted, key=lambda one: one[0])]

"""Settings from the environment, typed. One clear line per mistake; a secret is never printed."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from bot.domain.errors import BotError
from bot.expected import in_words
from bot.shipped import EXAMPLE_TEAM, languages
from bot.yaml_text import load

TEAM_FILE = "team.yaml"
WHERE_SLACK_SHOWS = {
    "SLACK_BOT_TOKEN": "your app, OAuth & Permissions; `tamv-bot manifest` makes the app",
    "SLACK_SIGNING_SECRET": "your app, Basic Information",
}


def _blank_is_unset(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _headers(value: object) -> object:
    """Read `Name=value,Other=value`; a colon will do, too."""
    if not isinstance(value, str):
        return value
    headers = {}
    for part in _split(value):  # type: ignore[attr-defined]
        match = re.fullmatch(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*[=:]\s*([^\r\n]*)", part)
        if match is None:
            raise ValueError("must be Name=value, several separated by commas")
        headers[match[1]] = match[2]
    return headers


def _certificates(value: Path | None) -> Path | None:
    if value is not None:
        try:
            ssl.create_default_context(cafile=str(value))
        except OSError as problem:  # ssl.SSLError is one
            why = "" if isinstance(problem, ssl.SSLError) else f": {problem.strerror}"
            raise ValueError(f"is not a readable PEM file of certificates{why}") from None
    return value


def _must_be_set(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("is not set")  # with an empty key anybody could sign a request
    return value


def _one_word(value: SecretStr | None) -> SecretStr | None:
    """Refuse what no HTTP header can carry: a line end, or the `…` of an example."""
    text = value.get_secret_value() if value else ""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("must be one word of plain letters, digits and signs: copy it again")
    return value


RequiredSecret = Annotated[SecretStr, AfterValidator(_must_be_set), AfterValidator(_one_word)]
Text = Annotated[str | None, BeforeValidator(_blank_is_unset)]
Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
Token = Annotated[Secret, AfterValidator(_one_word)]
Folder = Annotated[Path | None, BeforeValidator(_blank_is_unset)]
Url = Annotated[AnyHttpUrl | None, BeforeValidator(_blank_is_unset)]
Headers = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_headers)]
Certificates = Annotated[Path | None, BeforeValidator(_blank_is_unset), AfterValidator(_certificates)]
Secrets = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]


def _settings_of_team(path: Path) -> dict[str, Any]:
    """Return the defaults of settings that a team file names; nothing for a file that `load_team` will refuse."""
    defaults = {"locale": "es", "incident_channel": "#tamv-incidents"}
    try:
        team = load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return defaults
    if not isinstance(team, dict):
        return defaults
    spoken = team.get("languages")
    if isinstance(spoken, list) and spoken and spoken[0] in languages():
        defaults["locale"] = spoken[0]
    if isinstance(team.get("incident_channel"), str):
        defaults["incident_channel"] = team["incident_channel"]
    return defaults


class WrongSettings(BotError):
    """The environment is not valid; `lines` has one line for each mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("wrong_settings", lines=lines)
        self.lines = lines


class TeamSettings(BaseSettings):
    """Where the team's folder is: TEAM_DIR, or the folder of BOT_CONFIG; by default the shipped example, TAMV's."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    team_dir: Folder = None
    bot_config: Folder = None
    locale: str = ""

    @model_validator(mode="after")
    def _one_folder(self) -> Self:
        file, folder = self.bot_config, self.team_dir
        if file and folder and file.resolve().parent != folder.resolve():
            raise ValueError(f"TEAM_DIR: {folder} does not contain BOT_CONFIG ({file}); set one of them")
        return self

    @model_validator(mode="before")
    @classmethod
    def _teams_own(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take from the team file what the environment may override, where that does not."""
        file, folder = given.get("bot_config"), given.get("team_dir")
        path = Path(file) if file else Path(folder or EXAMPLE_TEAM) / TEAM_FILE
        return _settings_of_team(path) | {name: value for name, value in given.items() if value not in (None, "")}

    @field_validator("locale")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value not in languages():
            raise ValueError(f"must be one of {', '.join(languages())}")
        return value

    @property
    def team_file(self) -> Path:
        """The team file; the folder beside it is the team's."""
        return self.bot_config or (self.team_dir or EXAMPLE_TEAM) / TEAM_FILE

    @property
    def team_folder(self) -> Path:
        return self.team_file.parent


class Settings(TeamSettings):
    """Every setting of the bot; docs/operating.md describes them."""

    secrets_dir: Folder = None
    slack_bot_token: RequiredSecret
    slack_signing_secret: RequiredSecret
    slack_app_token: Token = None
    slack_api_url: AnyHttpUrl = AnyHttpUrl("https://slack.com/api/")
    incident_channel: str = "#tamv-incidents"
    database_url: str = "sqlite:///tamv-bot.db"
    host: str = "127.0.0.1"
    port: int = Field(3000, ge=0, le=65535)
    ca_bundle: Certificates = None
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    heartbeat_url: Url = None
    otel_exporter_otlp_endpoint: Url = None
    otel_exporter_otlp_headers: Headers = Field(default_factory=dict)
    keep_runs: int = Field(400, ge=1, description="days")

    prometheus_url: Url = None
    prometheus_token: Token = None
    prometheus_headers: Headers = Field(default_factory=dict)
    alertmanager_url: Url = None
    alertmanager_headers: Headers = Field(default_factory=dict)
    alertmanager_webhook_token: Token = None
    grafana_url: Url = None
    grafana_webhook_token: Token = None
    tempo_url: Url = None
    tempo_headers: Headers = Field(default_factory=dict)
    health_gateway_url: Url = None

    aws_region: Text = None
    aws_endpoint_url: Url = None
    aws_access_key_id: Text = None
    aws_secret_access_key: Secret = None

    vault_addr: Url = None
    vault_token: Token = None
    vault_role: Text = None
    vault_namespace: Text = None

    kubeconfig: Text = None
    helm: Text = None

    pagerduty_api_token: Token = None
    pagerduty_routing_key: Token = None
    pagerduty_from: Text = None
    pagerduty_webhook_secrets: Secrets = Field(default_factory=list)
    pagerduty_api_url: AnyHttpUrl = AnyHttpUrl("https://api.pagerduty.com")
    pagerduty_events_url: AnyHttpUrl = AnyHttpUrl("https://events.pagerduty.com")

    statuspage_api_key: Token = None
    statuspage_api_url: AnyHttpUrl = AnyHttpUrl("https://api.statuspage.io/v1")

    github_token: Token = None
    github_app_id: Text = None
    github_app_private_key: Secret = None
    github_repository: Text = None
    github_webhook_secret: Secret = None
    github_api_url: AnyHttpUrl = AnyHttpUrl("https://api.github.com")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        value = value.replace("postgres://", "postgresql://", 1)
        if value.startswith("sqlite:///"):
            if Path(value.removeprefix("sqlite:///")).name in ("", ":memory:"):
                raise ValueError("must name a file: sqlite:///tamv-bot.db")
            return value
        if not value.startswith("postgresql://"):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        try:
            parts = urlsplit(value)
            is_whole = bool(parts.path.strip("/")) and (parts.port is None or parts.port > 0)
        except ValueError:  # the port is no number, or a bracket is missing
            is_whole = False
        if not is_whole:
            raise ValueError("must be postgresql://USER:PASSWORD@HOST:5432/DATABASE (%40 stands for @ in a password)")
        return value

    @field_validator("github_repository")
    @classmethod
    def _owner_and_name(cls, value: str | None) -> str | None:
        if value is not None and value.count("/") != 1:
            raise ValueError("must be owner/name")
        return value

    @field_validator("slack_api_url")
    @classmethod
    def _ends_with_slash(cls, value: AnyHttpUrl) -> AnyHttpUrl:
        return value if str(value).endswith("/") else AnyHttpUrl(f"{value}/")

    @property
    def secrets(self) -> list[str]:
        """The values of all secrets that are set, for redaction."""
        values: list[str] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            for item in items:
                if isinstance(item, SecretStr):
                    values.append(item.get_secret_value())
        return values


def secret_files(settings: Settings) -> dict[Path, tuple[int, int]]:
    """Return the files that secrets are read from, each with its time of change (ns) and its inode."""
    folder, found = settings.secrets_dir, {}
    for path in (Path(".env"), *(sorted(folder.iterdir()) if folder and folder.is_dir() else ())):
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = (stat.st_mtime_ns, stat.st_ino)
    return found


def with_secrets_of(settings: Settings, newer: Settings) -> Settings | None:
    """Return the settings with the secrets of newer ones; None if these are the same."""
    changed = {
        name: getattr(newer, name)
        for name in type(settings).model_fields
        if _is_secret(getattr(settings, name), getattr(newer, name)) and getattr(newer, name) != getattr(settings, name)
    }
    return settings.model_copy(update=changed) if changed else None


def _is_secret(*values: object) -> bool:
    return any(isinstance(value, SecretStr | list | dict) for value in values)


def plain(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return headers as they are sent."""
    return {name: value.get_secret_value() for name, value in headers.items()}


def load_settings(kind: type[Settings] = Settings, /, **overrides: object) -> Settings:
    """Read the settings from the environment and `.env`; `overrides` win over both. Raises WrongSettings.

    `kind` may read them from elsewhere.
    """
    return _load(kind, overrides)


def load_team_settings() -> TeamSettings:
    """Read only where the team's folder is, for commands that need no other setting. Raises WrongSettings."""
    return _load(TeamSettings, {})


S = TypeVar("S", bound=BaseSettings)


def _secrets_dir() -> str | None:
    """Return the folder of SECRETS_DIR, which has a file for each secret; raises WrongSettings if it cannot be used."""
    folder = os.environ.get("SECRETS_DIR", "").strip()
    if folder and not Path(folder).is_dir():
        raise WrongSettings([f"SECRETS_DIR: {folder} is no folder"])
    if folder and not os.access(folder, os.R_OK | os.X_OK):
        raise WrongSettings([f"SECRETS_DIR: {folder} may not be read by this user"])
    return folder or None


def _load(model: type[S], overrides: dict[str, object]) -> S:
    try:
        options = overrides if "_secrets_dir" in overrides else {"_secrets_dir": _secrets_dir(), **overrides}
        return model(**options)  # type: ignore[arg-type]
    except ValidationError as mistakes:
        lines = []
        for mistake in mistakes.errors(include_input=False, include_url=False):
            why = "is not set" if mistake["type"] == "missing" else in_words(mistake, model)
            name = str(mistake["loc"][0]).upper() if mistake["loc"] else ""
            where = WHERE_SLACK_SHOWS.get(name) if why == "is not set" else None
            lines.append(": ".join(filter(None, (name, why))) + (f" (api.slack.com/apps, {where})" if where else ""))
        raise WrongSettings(lines) from None
    except UnicodeDecodeError:
        raise WrongSettings([".env: is not UTF-8; nor may a file in SECRETS_DIR be anything else"]) from None
    except (OSError, SettingsError) as problem:
        why = getattr(problem, "strerror", None) or "too large, or not of its form"
        raise WrongSettings([f".env or SECRETS_DIR: cannot be read: {why}"]) from None

"""What the API version 2 takes and gives, by Alertmanager's own OpenAPI document."""

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from sandbox.alertmanager.alerts import Alert, fingerprint
from sandbox.alertmanager.matchers import LABEL_NAME, Matcher
from sandbox.alertmanager.silences import Silence

Json = dict[str, Any]


class PostedMatcher(BaseModel):
    name: str
    value: str
    is_regex: bool = Field(alias="isRegex")
    is_equal: bool = Field(True, alias="isEqual")

    def matcher(self) -> Matcher:
        return Matcher(self.name, self.value, self.is_regex, self.is_equal)


class PostedSilence(BaseModel):
    id: str | None = None
    matchers: list[PostedMatcher] = Field(min_length=1)
    starts_at: AwareDatetime = Field(alias="startsAt")
    ends_at: AwareDatetime = Field(alias="endsAt")
    created_by: str = Field(alias="createdBy")
    comment: str


class PostedAlert(BaseModel):
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: AwareDatetime | None = Field(None, alias="startsAt")
    ends_at: AwareDatetime | None = Field(None, alias="endsAt")
    generator_url: str = Field("", alias="generatorURL")

    def checked_labels(self) -> dict[str, str]:
        """The labels that are not empty. ValueError when there is none, or one has no valid name."""
        labels = {name: value for name, value in self.labels.items() if value}
        if not labels:
            raise ValueError("at least one label pair required")
        for name in labels:
            if not LABEL_NAME.fullmatch(name):
                raise ValueError(f'invalid label set: invalid name "{name}"')
        return labels


def silence_json(silence: Silence, now: datetime) -> Json:
    matchers = [
        {"name": m.name, "value": m.value, "isRegex": m.is_regex, "isEqual": m.is_equal} for m in silence.matchers
    ]
    return {
        "id": silence.id,
        "status": {"state": silence.state(now)},
        "updatedAt": date_time(silence.updated_at),
        "matchers": matchers,
        "startsAt": date_time(silence.starts_at),
        "endsAt": date_time(silence.ends_at),
        "createdBy": silence.created_by,
        "comment": silence.comment,
        "annotations": {},
    }


def alert_json(alert: Alert, silenced_by: list[str], receiver: str) -> Json:
    return {
        "labels": dict(sorted(alert.labels.items())),
        "annotations": dict(sorted(alert.annotations.items())),
        "startsAt": date_time(alert.starts_at),
        "endsAt": date_time(alert.ends_at),
        "updatedAt": date_time(alert.updated_at),
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(alert.labels),
        "receivers": [{"name": receiver}],
        "status": {
            "state": "suppressed" if silenced_by else "active",
            "silencedBy": silenced_by,
            "inhibitedBy": [],
            "mutedBy": [],
        },
    }


def date_time(moment: datetime) -> str:
    """The moment in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

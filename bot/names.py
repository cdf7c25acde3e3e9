"""The names that actions take, and how each looks in words: people are shown these instead of a pattern."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

# Patterns with their keys of `expected` in the labels.
_OBJECT = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_WORKLOAD = r"^([a-z]{2,12}/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_RELEASE = r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$"
_JOB = r"^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$"
_DATABASE = r"^[a-z]([a-z0-9]|-[a-z0-9]){0,62}$"
_SNAPSHOT = r"^(rds:)?[a-z]([a-z0-9]|-[a-z0-9]){0,250}$"  # RDS's own, automated ones begin with rds:
_MIGRATION = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_TAG = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
_BRANCH = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$"
_BRANCH_PREFIX = r"^[a-z0-9][a-z0-9.-]{0,40}$"
_WORKFLOW = r"^[\w.-]+\.ya?ml$"
_CHANNEL = r"^(#[a-z0-9_-]{1,80}|[CG][A-Z0-9]{2,})$"
_ALERT = r"^[^\x00-\x1f]+$"
_SILENCE = r"^[0-9a-fA-F-]{8,64}$"
FORMS = {
    _OBJECT: "name",
    _WORKLOAD: "workload",
    _RELEASE: "name",
    _JOB: "name",
    _DATABASE: "name",
    _SNAPSHOT: "name",
    _MIGRATION: "name",
    _TAG: "tag",
    _BRANCH: "branch",
    _BRANCH_PREFIX: "name",
    _WORKFLOW: "workflow",
    _CHANNEL: "channel",
    _ALERT: "one_line",
    _SILENCE: "silence",
}


def _lower(value: object) -> object:
    """Phones begin a line with a capital letter; what takes no capitals is meant without."""
    return value.lower() if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=_OBJECT), BeforeValidator(_lower)]  # of most objects of Kubernetes
WorkloadName = Annotated[str, Field(pattern=_WORKLOAD), BeforeValidator(_lower)]  # its kind may stand before it
ReleaseName = Annotated[str, Field(pattern=_RELEASE), BeforeValidator(_lower)]
JobName = Annotated[str, Field(pattern=_JOB), BeforeValidator(_lower)]
DatabaseName = Annotated[str, Field(pattern=_DATABASE), BeforeValidator(_lower)]
SnapshotName = Annotated[str, Field(pattern=_SNAPSHOT), BeforeValidator(_lower)]
MigrationName = Annotated[str, Field(pattern=_MIGRATION), BeforeValidator(_lower)]
Tag = Annotated[str, Field(pattern=_TAG)]
BranchName = Annotated[str, Field(pattern=_BRANCH)]
BranchPrefix = Annotated[str, Field(pattern=_BRANCH_PREFIX), BeforeValidator(_lower)]
WorkflowFile = Annotated[str, Field(pattern=_WORKFLOW)]
ChannelName = Annotated[str, Field(pattern=_CHANNEL)]
AlertName = Annotated[str, Field(min_length=1, max_length=200, pattern=_ALERT)]
SilenceId = Annotated[str, Field(pattern=_SILENCE)]

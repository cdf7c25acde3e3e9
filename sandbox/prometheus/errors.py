"""What a query can do wrong, in Prometheus' own words for the kinds of errors."""


class QueryError(Exception):
    """A query that has no answer. `kind` is Prometheus' errorType: `bad_data` (HTTP 400) or `execution` (422)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def bad_data(message: str) -> QueryError:
    """The request itself is wrong: it does not parse, or a parameter is out of its range."""
    return QueryError("bad_data", message)


def execution(message: str) -> QueryError:
    """The request is well formed, but evaluating it failed."""
    return QueryError("execution", message)


def unsupported(what: str) -> QueryError:
    """A part of PromQL that the sandbox does not have."""
    return execution(f"the sandbox does not support {what}")

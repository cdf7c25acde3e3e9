"""Alertmanager's OpenAPI document (Swagger 2), as JSON Schema."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator, FormatChecker

CONTRACTS = Path(os.environ.get("CONTRACTS_DIR", Path(__file__).parents[3] / "shared" / "contracts"))
DOCUMENT = CONTRACTS / "alertmanager" / "alertmanager-api-v2.openapi.yaml"


class Contract:
    """Holds bodies against the document. Skips the test, and says so, when it is missing."""

    def __init__(self) -> None:
        if not DOCUMENT.exists():
            pytest.skip(f"the contract is missing: {DOCUMENT}")
        self.document = yaml.safe_load(DOCUMENT.read_text("utf-8"))

    def check_answer(self, method: str, path: str, status: int, body: Any) -> None:
        """An answer's body by the operation's schema for this status; a status that it does not know is wrong."""
        if status == 422:  # go-swagger's validation, of which the document says nothing
            assert set(body) == {"code", "message"}
            return
        responses = self.document["paths"][path][method.lower()]["responses"]
        assert str(status) in responses, (method, path, status)
        answer = responses[str(status)]
        if "$ref" in answer:
            answer = self.document["responses"][answer["$ref"].rpartition("/")[2]]
        if "schema" in answer and not (status == 400 and isinstance(body, dict)):  # go-swagger again
            self.check(answer["schema"], body)

    def check(self, schema: dict[str, Any], body: Any) -> None:
        """A body by a schema of the document."""
        whole = {**schema, "definitions": self.document["definitions"]}
        errors = [error.message for error in Draft4Validator(whole, format_checker=FormatChecker()).iter_errors(body)]
        assert errors == [], (schema, body)

    def check_request(self, definition: str, body: Any) -> None:
        self.check({"$ref": f"#/definitions/{definition}"}, body)

"""The API in OpenAPI 3.1, as `/openapi.json` has it: written by hand, checked against the handlers by the tests."""

from importlib import metadata
from typing import Final

from pipeline.config import TIER_CALLS
from pipeline.server.access.access import COOKIE
from pipeline.server.api.account import SESSION_PATH, USAGE_PATH
from pipeline.server.api.schemas import KEY_FORMAT, SCHEMAS, Schema
from pipeline.wire import TEXT_RECOGNITION_PATH

POSITIONS_PATH: Final = "/api/advanced-recognition"

_ERRORS: Final = {
    400: ("Bad Request: invalid input parameters", "BadRequest"),
    401: ("Unauthorized: invalid or missing API key", "Unauthorized"),
    403: ("Forbidden: insufficient quota or permissions", "Forbidden"),
    404: ("Not Found", "NotFound"),
    405: ("Method Not Allowed", "MethodNotAllowed"),
    429: ("Too Many Requests: rate limit exceeded, or the server is busy", "TooManyRequests"),
    500: ("Internal Server Error: processing failed", "InternalServerError"),
}


def describe_api(*, open_to_all: bool) -> Schema:
    """Return the description.

    Args:
        open_to_all: Whether calls need no key, since the server has none.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pagemill: text recognition",
            "version": metadata.version("pagemill"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"session": []}, *([{}] if open_to_all else [])],
        "paths": {
            TEXT_RECOGNITION_PATH: {"post": _recognition("recogniseText", "The text of an image", "TextReply")},
            POSITIONS_PATH: {
                "post": _recognition(
                    "recognisePositions", "The text of an image, and where it stands", "PositionsReply"
                )
            },
            "/api/documents/{id}": {"get": _document()},
            SESSION_PATH: {"post": _sign_in(), "delete": _sign_out()},
            USAGE_PATH: {"get": _usage()},
            "/healthz": {"get": _health()},
            "/metrics": {"get": _open("tellMetrics", "Figures for Prometheus", "text/plain", {"type": "string"})},
            "/openapi.json": {
                "get": _open("tellDescription", "This description", "application/json", {"type": "object"})
            },
        },
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": "key"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
            "schemas": SCHEMAS,
            "responses": {name: _error(status, text) for status, (text, name) in _ERRORS.items()},
        },
    }


def _recognition(operation: str, summary: str, reply: str) -> Schema:
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RecognitionRequest"}}},
        },
        "responses": {
            "200": {
                "description": "Recognised",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{reply}"}}},
                "links": {
                    "again": {"operationId": "tellDocument", "parameters": {"id": "$response.body#/id"}},
                },
            },
            **_error_responses(400, 401, 403, 405, 429, 500),
        },
    }


def _document() -> Schema:
    return {
        "operationId": "tellDocument",
        "summary": "An answer of an earlier call",
        "description": "The latest answers of this server's run are kept, for the caller who got them.",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}],
        "responses": {
            "200": {
                "description": "The answer as it was given",
                "content": {
                    "application/json": {
                        "schema": {
                            "oneOf": [
                                {"$ref": "#/components/schemas/TextReply"},
                                {"$ref": "#/components/schemas/PositionsReply"},
                            ]
                        }
                    }
                },
            },
            **_error_responses(400, 401, 403, 404, 405, 429, 500),
        },
    }


def _sign_in() -> Schema:
    schema = {"type": "object", "properties": {"key": {"type": "string", "format": KEY_FORMAT}}, "required": ["key"]}
    return {
        "operationId": "signIn",
        "summary": "Open a session with a key",
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "204": {
                "description": "Signed in: the session is in a cookie. Where no key is needed, there is no cookie."
            },
            **_error_responses(400, 401, 403, 405, 429, 500),
        },
    }


def _sign_out() -> Schema:
    return {
        "operationId": "signOut",
        "summary": "End the session, if there is one",
        "security": [],
        "responses": {"204": {"description": "Signed out"}, **_error_responses(400, 403, 405, 500)},
    }


def _usage() -> Schema:
    return {
        "operationId": "tellUsage",
        "summary": "What was used of this month",
        "responses": {
            "200": {
                "description": "The month's calls",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Usage"}}},
            },
            **_error_responses(400, 401, 403, 405, 500),
        },
    }


def _health() -> Schema:
    schema = {"$ref": "#/components/schemas/Health"}
    operation = _open("tellHealth", "Can pages be read?", "application/json", schema)
    operation["responses"]["503"] = {
        "description": "No worker runs",
        "content": {"application/json": {"schema": schema}},
    }
    return operation


def _open(operation: str, summary: str, media_type: str, schema: Schema) -> Schema:
    """Return an operation that takes nothing and needs no key."""
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {
            "200": {"description": "The answer", "content": {media_type: {"schema": schema}}},
            **_error_responses(400, 405),
        },
    }


def _error_responses(*statuses: int) -> Schema:
    return {str(status): {"$ref": f"#/components/responses/{_ERRORS[status][1]}"} for status in statuses}


def _error(status: int, text: str) -> Schema:
    described: Schema = {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if status == 405:
        described["headers"] = {"Allow": {"schema": {"type": "string"}, "required": True}}
    if status == 429:
        described["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait",
                "schema": {"type": "string", "pattern": "^[0-9]+$"},
                "required": True,
            }
        }
    return described


_DESCRIPTION: Final = (
    "Reads Chinese and English text in images. Calls a month by tier: "
    + ", ".join(f"{tier} {'any' if calls is None else calls}" for tier, calls in TIER_CALLS.items())
    + ". A server without configured keys listens on loopback only and takes any key, or none."
)

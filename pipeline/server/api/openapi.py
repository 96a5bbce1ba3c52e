"""The description of the API in OpenAPI 3.1, served at `/openapi.json`; its schemas are made from `schemas`."""

from functools import cache
from importlib import metadata
from typing import Any, Final

import msgspec
from msgspec import Struct

from pipeline.config import TIER_CALLS
from pipeline.server.access.authentication import KEY_PARAMETER, SESSION_COOKIE
from pipeline.server.api.account import SESSION_PATH, USAGE_PATH
from pipeline.server.api.schemas import (
    Credentials,
    Health,
    PositionsReply,
    RecognitionRequest,
    TextReply,
    Usage,
    image_url_pattern,
)
from pipeline.server.http.responses import ErrorReply
from pipeline.wire import ADVANCED_RECOGNITION_PATH, TEXT_RECOGNITION_PATH

Schema = dict[str, Any]

_BODIES: Final = (RecognitionRequest, TextReply, PositionsReply, Credentials, Usage, Health, ErrorReply)
"""Every request and response body; the structs in their fields are found by msgspec."""

_REF_TEMPLATE: Final = "#/components/schemas/{name}"

_ERRORS: Final = {
    400: ("Bad Request: invalid input parameters", "BadRequest"),
    401: ("Unauthorized: invalid or missing API key", "Unauthorized"),
    403: ("Forbidden: insufficient quota or permissions", "Forbidden"),
    404: ("Not Found", "NotFound"),
    405: ("Method Not Allowed", "MethodNotAllowed"),
    429: ("Too Many Requests: rate limit exceeded, or the server is busy", "TooManyRequests"),
    500: ("Internal Server Error: processing failed", "InternalServerError"),
}

_DESCRIPTION: Final = (
    "Reads Chinese and English text in images. Calls per month by tier: "
    + ", ".join(f"{tier} {'unlimited' if calls is None else calls}" for tier, calls in TIER_CALLS.items())
    + ". A server without configured keys listens on loopback only and accepts any key, or none."
)


@cache
def encode_description(*, open_to_all: bool, fetches_urls: bool) -> bytes:
    """Return the description as JSON; making it takes milliseconds, and anybody may ask for it."""
    return msgspec.json.encode(describe_api(open_to_all=open_to_all, fetches_urls=fetches_urls))


def describe_api(*, open_to_all: bool, fetches_urls: bool = False) -> Schema:
    """Return the description.

    Args:
        open_to_all: Whether calls need no key, because the server has none.
        fetches_urls: Whether the server fetches images by URL.
    """
    _, schemas = msgspec.json.schema_components(_BODIES, ref_template=_REF_TEMPLATE)
    schemas["Document"]["properties"]["image_url"]["pattern"] = image_url_pattern(fetches_urls=fetches_urls)
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
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": KEY_PARAMETER},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
            "schemas": schemas,
            "responses": {name: _error_response(status, text) for status, (text, name) in _ERRORS.items()},
        },
    }


def _paths() -> Schema:
    text = _recognition("recogniseText", "Read the text of an image", TextReply)
    positions = _recognition(
        "recognisePositions",
        "Read the text of an image and the position of each line, and say how well it was read",
        PositionsReply,
    )
    metrics = _public("getMetrics", "Metrics for Prometheus", {"text/plain": {"schema": {"type": "string"}}})
    description = _public("getDescription", "This description", {"application/json": {"schema": {"type": "object"}}})
    return {
        TEXT_RECOGNITION_PATH: {"post": text},
        ADVANCED_RECOGNITION_PATH: {"post": positions},
        "/api/documents/{id}": {"get": _document()},
        SESSION_PATH: {"post": _sign_in(), "delete": _sign_out()},
        USAGE_PATH: {"get": _usage()},
        "/healthz": {"get": _health()},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": description},
    }


def _recognition(operation_id: str, summary: str, reply: type[Struct]) -> Schema:
    link = {"operationId": "getDocument", "parameters": {"id": "$response.body#/id"}}
    return {
        "operationId": operation_id,
        "summary": summary,
        "requestBody": {"required": True, "content": _json(RecognitionRequest)},
        "responses": {
            "200": {"description": "The image was read", "content": _json(reply), "links": {"again": link}},
            **_error_responses(400, 401, 403, 405, 429, 500),
        },
    }


def _document() -> Schema:
    either_reply = {"oneOf": [_ref(TextReply), _ref(PositionsReply)]}
    return {
        "operationId": "getDocument",
        "summary": "Return the reply of an earlier call again",
        "description": "The server keeps the latest replies in memory, each for the caller who got it.",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}],
        "responses": {
            "200": {
                "description": "The reply, byte for byte as it was sent",
                "content": {"application/json": {"schema": either_reply}},
            },
            **_error_responses(400, 401, 403, 404, 405, 429, 500),
        },
    }


def _sign_in() -> Schema:
    return {
        "operationId": "signIn",
        "summary": "Open a session with a key",
        "security": [],
        "requestBody": {"required": True, "content": _json(Credentials)},
        "responses": {
            "204": {"description": "Signed in: the session is in a cookie. A server that needs no key sets no cookie."},
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
        "operationId": "getUsage",
        "summary": "Calls used in the current month",
        "responses": {
            "200": {"description": "Usage of the month", "content": _json(Usage)},
            **_error_responses(400, 401, 403, 405, 500),
        },
    }


def _health() -> Schema:
    operation = _public("getHealth", "Whether the server can read pages", _json(Health))
    operation["responses"]["503"] = {"description": "No worker runs", "content": _json(Health)}
    return operation


def _public(operation_id: str, summary: str, content: Schema) -> Schema:
    """Return an operation without parameters that needs no key."""
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": "OK", "content": content}, **_error_responses(400, 405)},
    }


def _json(body: type[Struct]) -> Schema:
    return {"application/json": {"schema": _ref(body)}}


def _ref(body: type[Struct]) -> Schema:
    return {"$ref": _REF_TEMPLATE.format(name=body.__name__)}


def _error_responses(*statuses: int) -> Schema:
    return {str(status): {"$ref": f"#/components/responses/{_ERRORS[status][1]}"} for status in statuses}


def _error_response(status: int, text: str) -> Schema:
    described: Schema = {"description": text, "content": _json(ErrorReply)}
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

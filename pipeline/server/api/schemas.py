"""The objects of the API, as its OpenAPI description has them."""

from typing import Any, Final, Literal, get_args

from pipeline.config import TIER_CALLS
from pipeline.server.http.images import SERVER_LIMITS
from pipeline.server.http.requests import FILENAME_MAX_CHARS
from pipeline.wire import DOCUMENT_TYPE

Schema = dict[str, Any]

IMAGE_FORMAT: Final = "image"
"""Of `document.image_url`: a string whose content is an image that the API takes."""

KEY_FORMAT: Final = "password"
"""Of a key: programs that show the description hide what is typed (OpenAPI 3.1, "Data Type Format")."""

Status = Literal["ok", "starting", "failing"]
"""Whether a worker runs; whether the last attempt to start one failed."""

_LIMITS: Final = (
    f"JPEG, PNG, GIF (its first frame) or WebP; at most {SERVER_LIMITS.max_bytes // 1024 // 1024} MiB; from "
    f"{SERVER_LIMITS.min_edge_px}x{SERVER_LIMITS.min_edge_px} to "
    f"{SERVER_LIMITS.max_edge_px}x{SERVER_LIMITS.max_edge_px} px"
)

_REPLY: Final[Schema] = {
    "id": {"type": "string", "description": "Of the document; /api/documents/{id} tells the answer again."},
    "filename": {"type": "string", "description": "As given; empty when none was."},
    "content": {"type": "string", "description": "The text, a newline between lines; empty for a page without text."},
    "timestamp": {"type": "integer", "description": "Unix epoch in milliseconds."},
    "payload": {"type": "string", "description": "The URL that was called, its key masked."},
}

_NUMBER: Final[Schema] = {"type": "number"}

SCHEMAS: Final[Schema] = {
    "RecognitionRequest": {
        "type": "object",
        "properties": {
            "document": {
                "type": "object",
                "properties": {
                    "type": {"const": DOCUMENT_TYPE, "type": "string"},
                    "image_url": {
                        "type": "string",
                        "format": IMAGE_FORMAT,
                        "minLength": 1,
                        "description": "The image as a data URL (data:image/jpeg;base64,...) or as base64; or, where "
                        f"the server allows it, the image's http(s) URL. {_LIMITS}.",
                    },
                },
                "required": ["type", "image_url"],
            },
            "filename": {
                "type": ["string", "null"],
                "maxLength": FILENAME_MAX_CHARS,
                "description": "Comes back in the reply.",
            },
        },
        "required": ["document"],
    },
    "TextReply": {
        "type": "object",
        "properties": {**_REPLY, "format": {"const": "text"}},
        "required": [*_REPLY, "format"],
    },
    "PositionsReply": {
        "type": "object",
        "properties": {
            **_REPLY,
            "format": {"const": "json"},
            "ocrResult": {
                "type": "object",
                "properties": {
                    "words_info": {
                        "type": "array",
                        "description": "The lines in the order of reading; content joins their texts by newlines.",
                        "items": {"$ref": "#/components/schemas/Line"},
                    }
                },
                "required": ["words_info"],
            },
        },
        "required": [*_REPLY, "format", "ocrResult"],
    },
    "Line": {
        "type": "object",
        "description": "Positions are pixels of the image as it was sent, from its top left corner, y downwards.",
        "properties": {
            "text": {"type": "string"},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "location": {
                "type": "array",
                "description": "Four corners, x and y in turn, clockwise from the top left of the text as it is read.",
                "items": _NUMBER,
                "minItems": 8,
                "maxItems": 8,
            },
            "rotate_rect": {
                "type": "array",
                "description": "The smallest rectangle around the corners: x and y of its centre, its width along the "
                "line, its height across it, and the angle in degrees, above -180 and up to 180, by which an upright "
                "rectangle is turned clockwise about its centre to give this one: 0 is a line read from left to "
                "right, 90 one read downwards, as on a page that was turned clockwise.",
                "prefixItems": [
                    _NUMBER,
                    _NUMBER,
                    {"type": "number", "minimum": 0},
                    {"type": "number", "minimum": 0},
                    {"type": "number", "exclusiveMinimum": -180, "maximum": 180},
                ],
                "minItems": 5,
                "maxItems": 5,
            },
        },
        "required": ["text", "confidence", "location", "rotate_rect"],
    },
    "Usage": {
        "type": "object",
        "properties": {
            "tier": {"enum": list(TIER_CALLS)},
            "month": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$", "description": "In UTC."},
            "used": {"type": "integer", "minimum": 0},
            "quota": {"type": ["integer", "null"], "minimum": 0, "description": "null is any number."},
            "resets": {"type": "string", "format": "date-time"},
            "session": {"type": "boolean", "description": "Whether a session, and no key, let the call in."},
        },
        "required": ["tier", "month", "used", "quota", "resets", "session"],
    },
    "Health": {
        "type": "object",
        "properties": {
            "status": {
                "enum": list(get_args(Status)),
                "description": "ok: pages are read; starting: no worker runs, one is being started; "
                "failing: none could be started, and pages are refused until one can.",
            },
            "workers": {"type": "integer", "minimum": 0, "description": "Processes that run."},
            "queue": {"type": "integer", "minimum": 0, "description": "Pages that wait for one."},
        },
        "required": ["status", "workers", "queue"],
    },
    "Error": {
        "type": "object",
        "properties": {"statusText": {"type": "string", "description": "What is wrong, for a person."}},
        "required": ["statusText"],
    },
}

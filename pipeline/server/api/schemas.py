"""The JSON bodies of the API, each described once: handlers decode and encode these structs, OpenAPI is made from them.

Docstrings, field descriptions and bounds are published in `/openapi.json`. `extra_json_schema` holds what the
description says and decoding does not enforce; a handler then checks it with a message of its own.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from pipeline.quality import Quality
from pipeline.server.access.callers import MonthlyUsage
from pipeline.server.access.keys import NO_VALID_KEY
from pipeline.server.http.images import SERVER_LIMITS
from pipeline.wire import DOCUMENT_TYPE

FILENAME_MAX_CHARS: Final = 4096
"""The longest path on Linux (PATH_MAX)."""

IMAGE_FORMAT: Final = "image"
"""`format` of `document.image_url`: a string that holds an image which the API accepts."""

WHITESPACE: Final = " \t\n\r\f\v"
"""Ignored around the image, and inside base64."""

_BASE64_HEADS: Final = ("/9j/", "iVBORw0KGg", "R0lGODdh", "R0lGODlh", "UklGR")
"""Base64 of the first bytes of JPEG, PNG, GIF of either version and WebP (RIFF)."""

_BASE64_MIN_CHARS: Final = 24
"""After the head: the header of the smallest image, of 100x100 px, has 24 bytes."""

EXAMPLE_IMAGE: Final = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAGQAAABkAQAAAABYmaj5AAAAGElEQVR42mP4jwwYRnmjvFHeKG+UR2MeAKJDDzhZDesHAAAAAElFTkSuQmCC"
)
"""A white page of 100x100 px."""

KEY_FORMAT: Final = "password"
"""`format` of a key: tools that show the description hide the input (OpenAPI 3.1, "Data Type Format")."""

_IMAGE_LIMITS: Final = (
    f"JPEG, PNG, GIF (its first frame) or WebP; at most {SERVER_LIMITS.max_bytes // 1024 // 1024} MiB; from "
    f"{SERVER_LIMITS.min_edge_px}x{SERVER_LIMITS.min_edge_px} to "
    f"{SERVER_LIMITS.max_edge_px}x{SERVER_LIMITS.max_edge_px} px"
)


def image_url_pattern(*, fetches_urls: bool) -> str:
    """Return the regular expression of `document.image_url`, valid in ECMAScript and Python.

    It repeats nothing but single characters, any number of times: V8 overflows its stack when a group, or at least n
    characters, match 14 million. So it does not say that the number of base64 characters is a multiple of four.

    Args:
        fetches_urls: Whether the server fetches images by URL.
    """
    space, character = r"[ \t\n\r\f\v]*", r"[A-Za-z0-9+/ \t\n\r\f\v]"
    heads = "|".join(space.join(head) for head in _BASE64_HEADS)
    data_url = rf"(?:[Dd][Aa][Tt][Aa]:[^,]*;[Bb][Aa][Ss][Ee]64,{space})?"
    base64 = rf"(?:{heads}){character}{{{_BASE64_MIN_CHARS}}}{character}*=?{space}=?{space}$"
    url = "|[Hh][Tt][Tt][Pp][Ss]?://." if fetches_urls else ""
    return rf"^{space}(?:{data_url}{base64}{url})"


class Document(Struct, frozen=True):
    """The image to read."""

    type: Annotated[str, Meta(description="The fixed value.", extra_json_schema={"const": DOCUMENT_TYPE})]
    image_url: Annotated[
        str,
        Meta(
            description="The image as a data URL (data:image/jpeg;base64,...) or as base64; or its http(s) URL, where "
            f"the server allows that. {_IMAGE_LIMITS}.",
            examples=[EXAMPLE_IMAGE],
            extra_json_schema={"format": IMAGE_FORMAT, "minLength": 1},
        ),
    ]


class RecognitionRequest(Struct, frozen=True):
    """A request to read one image."""

    document: Document
    filename: Annotated[
        Annotated[str, Meta(max_length=FILENAME_MAX_CHARS)] | None,
        Meta(description="Name of the image, returned in the reply.", examples=["scan 1.png"]),
    ] = None


ReplyId = Annotated[
    str,
    Meta(
        description="Identifier of the reply; GET /api/documents/{id} returns the reply again.",
        examples=["b1f9f0c4-4c3e-4b5e-9f6e-5c1d2f3a4b5c"],
    ),
]
Filename = Annotated[
    str, Meta(description="The name in the request; empty when there was none.", examples=["scan 1.png"])
]
Content = Annotated[
    str,
    Meta(
        description="The text, one line of the page per line; empty for a page without text.",
        examples=["第一行\nsecond line"],
    ),
]
TimestampMs = Annotated[
    int, Meta(description="Time of the reply, Unix epoch in milliseconds.", examples=[1640995200000])
]
Payload = Annotated[
    str,
    Meta(
        description="The URL of the call, the key's value masked.",
        examples=["http://127.0.0.1:8080/api/text-recognition?key=***"],
    ),
]


class TextReply(Struct, frozen=True):
    """The text of an image."""

    id: ReplyId
    filename: Filename
    content: Content
    format: Literal["text"]
    timestamp: TimestampMs
    payload: Payload


_LengthPx = Annotated[float, Meta(ge=0)]


class Line(Struct, frozen=True):
    """A line of text; coordinates are pixels of the image as sent, from its top left corner, y downwards."""

    text: str
    confidence: Annotated[float, Meta(ge=0, le=1)]
    location: Annotated[
        tuple[float, ...],
        Meta(
            min_length=8,
            max_length=8,
            description="Four corners, x and y in turn, clockwise from the top left of the text as it is read.",
        ),
    ]
    rotate_rect: Annotated[
        tuple[float, float, _LengthPx, _LengthPx, Annotated[float, Meta(gt=-180, le=180)]],
        Meta(
            description="The smallest rectangle around the corners: x and y of its centre, its width along the line, "
            "its height across the line, and its angle: the clockwise turn about the centre, in degrees above -180 and "
            "up to 180, that makes this rectangle of an upright one. The angle is 0 for a line that is read from left "
            "to right, 90 for one that is read downwards, as on a page that was turned clockwise.",
        ),
    ]


class OcrResult(Struct, frozen=True):
    """The lines of a page."""

    words_info: Annotated[
        tuple[Line, ...],
        Meta(
            description="The lines in reading order. Lines beside one another, such as the cells of a table, are one "
            "line of `content`."
        ),
    ]


Warnings = Annotated[
    tuple[str, ...],
    Meta(
        description="Why the page is in doubt, in short sentences; empty for a page that is not.",
        examples=[["much ink is unread: 62 %"]],
    ),
]


class PositionsReply(Struct, frozen=True):
    """The text of an image, the position of each line, and how well the page was read."""

    id: ReplyId
    filename: Filename
    content: Content
    format: Literal["json"]
    ocr_result: OcrResult = field(name="ocrResult")
    quality: Quality
    warnings: Warnings
    timestamp: TimestampMs
    payload: Payload


class Credentials(Struct, frozen=True):
    """The API key that a session is opened with."""

    key: Annotated[str, Meta(extra_json_schema={"format": KEY_FORMAT})]


class Usage(MonthlyUsage, frozen=True):
    """Calls of the current month, and how the request was authenticated."""

    session: Annotated[bool, Meta(description="Whether a session, and not a key, authenticated the request.")]


Status = Literal["ok", "starting", "failing"]


class Health(Struct, frozen=True, omit_defaults=True):
    """Whether the server can read pages."""

    status: Annotated[
        Status,
        Meta(
            description="ok: pages are read; starting: no worker runs, one is being started; failing: no worker could "
            "be started, and pages fail until one can."
        ),
    ]
    workers: Annotated[int, Meta(ge=0, description="Worker processes that run.")]
    queue: Annotated[int, Meta(ge=0, description="Pages that wait for a worker.")]
    detail: Annotated[
        str,
        Meta(
            description="Why no caller is accepted, and what to do; absent where some are.",
            examples=[NO_VALID_KEY],
        ),
    ] = ""

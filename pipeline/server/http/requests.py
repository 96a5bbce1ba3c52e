"""A request's body becomes an image and a name, or a reason to refuse it.

Source: the API's contract, "POST /api/text-recognition".
"""

import asyncio
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar

import msgspec
import pybase64
from aiohttp import web
from msgspec import Meta, Struct

from pipeline.errors import PagemillError
from pipeline.wire import DOCUMENT_TYPE

_T = TypeVar("_T")

BODY_MAX_BYTES = 15 * 1024 * 1024
"""10 MiB as base64 are 13.4 MiB; the rest is the name and the caller's white space."""

FILENAME_MAX_CHARS = 4096
"""The longest path that Linux takes."""
BODY_DEADLINE_S: Final = 60.0
"""The largest body comes through 2 Mbit/s in this time."""


class RequestError(PagemillError):
    """The request is refused; the message is the reply's `statusText`.

    Args:
        status_text: Why, in a line for the caller.
        status: The reply's HTTP status.
        retry_after_s: When to come back, whole seconds; None says nothing about that.
    """

    def __init__(self, status_text: str, status: int = 400, *, retry_after_s: int | None = None) -> None:
        super().__init__(status_text)
        self.status = status
        self.retry_after_s = retry_after_s


class _Document(Struct):
    type: str
    image_url: str


class _Body(Struct):
    document: _Document
    filename: Annotated[str, Meta(max_length=FILENAME_MAX_CHARS)] | None = None


_body = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What a caller wants recognised.

    Attributes:
        image: An encoded image file, or whatever the caller took for one.
        filename: As given; "" when none was.
        url: Where the image is, when the caller did not send it.
    """

    image: bytes = field(repr=False)
    filename: str = ""
    url: str | None = field(default=None, repr=False)


def parse_request(body: bytes) -> ImageRequest:
    """Return the image, or where it is, and the name in a request's body.

    Raises:
        RequestError: the body is not the documented object, or its image is not in it.
    """
    request = decode_body(_body, body)
    if request.document.type != DOCUMENT_TYPE:
        raise RequestError(f'document.type must be "{DOCUMENT_TYPE}"')
    filename, image_url = request.filename or "", request.document.image_url.strip()
    if image_url[:8].lower().startswith(("http://", "https://")):
        return ImageRequest(b"", filename, image_url)
    return ImageRequest(parse_image_url(image_url), filename)


def decode_body(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Return what a body says.

    Raises:
        RequestError: it is no JSON, or not the documented object.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise RequestError(f"invalid request: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RequestError("request body is not valid JSON") from exc


def parse_image_url(image_url: str) -> bytes:
    """Return the bytes in a data URL, or in base64 without one.

    Raises:
        RequestError: it is no base64, or empty.
    """
    text = image_url.strip()
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise RequestError("document.image_url: a data URL must be base64: data:image/jpeg;base64,...")
    if not text:
        raise RequestError("document.image_url is empty")
    return _decode_base64(text)


def is_key_right(given: str, expected: str) -> bool:
    """Return whether two keys are the same; compared in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _decode_base64(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        # Many encoders break their lines; joining them costs a copy, so it comes second.
        return pybase64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise RequestError("document.image_url is neither a data URL nor base64") from exc


async def read_body(
    request: web.Request,
    hold: Callable[[int], None],
    *,
    max_bytes: int = BODY_MAX_BYTES,
    deadline_s: float = BODY_DEADLINE_S,
) -> bytes:
    """Return the body; one that says it is too large is not read.

    Args:
        request: Its body was not read yet.
        hold: Told of so many bytes more as they arrive; raises when all requests together hold too many.
        max_bytes: Of the body, as it was sent and once it is decompressed.
        deadline_s: The caller has so long to send it.

    Raises:
        RequestError: it takes too long, or is one too many.
        web.HTTPRequestEntityTooLarge: it is too large, also once it is decompressed.
        web.RequestPayloadError: it is not encoded as its header says.
    """
    length = request.content_length or 0
    if length > max_bytes:
        raise web.HTTPRequestEntityTooLarge(max_bytes, length)
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            while chunk := await request.content.readany():
                if len(body) + len(chunk) > max_bytes:
                    raise web.HTTPRequestEntityTooLarge(max_bytes, len(body) + len(chunk))
                hold(len(chunk))
                body += chunk
    except TimeoutError as exc:
        raise RequestError(f"request body did not arrive within {deadline_s:g} s") from exc
    return bytes(body)

"""Parsing the JSON body of a request: from bytes to the image, or the URL of an image, and its name.

Source: the API's contract, "POST /api/text-recognition".
"""

import binascii
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
import pybase64

from pipeline.server.api.schemas import WHITESPACE, Credentials, RecognitionRequest
from pipeline.server.http.requests import RequestError
from pipeline.wire import DOCUMENT_TYPE, is_url

_T = TypeVar("_T")

_recognition_request: Final = msgspec.json.Decoder(RecognitionRequest)
_credentials: Final = msgspec.json.Decoder(Credentials)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request to read one image.

    Attributes:
        image: The decoded bytes, not yet checked to be an image; empty when `url` is given.
        filename: The name in the request; "" when there was none.
        url: The URL of the image; None when the request holds the image.
    """

    image: bytes = field(repr=False)
    filename: str = ""
    url: str | None = field(default=None, repr=False)


def parse_recognition_request(body: bytes) -> ImageRequest:
    """Return the image or its URL, and the name, of a request.

    Raises:
        RequestError: the body is not the documented object, or its image is not base64.
    """
    request = _decode(_recognition_request, body)
    if request.document.type != DOCUMENT_TYPE:
        raise RequestError(f'document.type must be "{DOCUMENT_TYPE}"')
    filename, image_url = request.filename or "", request.document.image_url.strip(WHITESPACE)
    if is_url(image_url):
        return ImageRequest(b"", filename, image_url)
    return ImageRequest(parse_image_url(image_url), filename)


def parse_credentials(body: bytes) -> str:
    """Return the API key in a request to open a session.

    Raises:
        RequestError: the body is not the documented object.
    """
    return _decode(_credentials, body).key


def parse_image_url(image_url: str) -> bytes:
    """Return the bytes of a data URL, or of base64 without the data URL's head.

    Raises:
        RequestError: the text is neither, or holds no data.
    """
    text = image_url.strip(WHITESPACE)
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise RequestError("document.image_url: a data URL must be base64: data:image/jpeg;base64,...")
    if not text:
        raise RequestError("document.image_url is empty")
    return _decode_base64(text)


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise RequestError(f"invalid request: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RequestError("request body is not valid JSON") from exc


def _decode_base64(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        # Many encoders insert line breaks; removing them copies the text, so it is the second attempt.
        return pybase64.b64decode(text.encode("ascii").translate(None, WHITESPACE.encode()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise RequestError("document.image_url is neither a data URL nor base64") from exc

"""Parsing request bodies by the contract."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.api.request_parsing import parse_image_url, parse_recognition_request
from pipeline.server.http.requests import RequestError
from pipeline.wire import build_image_body


def body(**changes: object) -> bytes:
    """Return a valid request with some fields replaced."""
    request: dict[str, object] = {"document": {"type": "image_url", "image_url": "QUJD"}, "filename": "a.png"}
    return json.dumps(request | changes).encode()


@given(st.binary(min_size=1, max_size=200), st.text(max_size=20))
def test_the_request_that_the_client_builds_is_parsed(image: bytes, filename: str) -> None:
    request = parse_recognition_request(build_image_body(image, "image/png", filename))
    assert request.image == image
    assert request.filename == filename.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize(
    "image_url",
    [
        pytest.param("data:image/jpeg;base64,QUJD", id="data-url"),
        pytest.param("DATA:image/jpeg;charset=binary;BASE64,QUJD", id="data-url-in-capitals"),
        pytest.param("QUJD", id="raw-base64"),
        pytest.param("QU\nJD\r\n", id="base64-in-lines"),
    ],
)
def test_an_image_may_be_a_data_url_or_base64(image_url: str) -> None:
    """The API's contract, "Raw base64 without `data:`?"."""
    assert parse_image_url(image_url) == b"ABC"


@pytest.mark.parametrize(
    ("image_url", "message"),
    [
        pytest.param("file:///etc/passwd", "neither a data URL nor base64", id="file"),
        pytest.param("data:image/png,plain", "must be base64", id="data-url-without-base64"),
        pytest.param("data:image/png;base64", "must be base64", id="data-url-without-data"),
        pytest.param("data:image/png;base64,", "is empty", id="empty-data-url"),
        pytest.param("  ", "is empty", id="empty"),
        pytest.param("QUJ", "neither a data URL nor base64", id="padding-missing"),
        pytest.param("QU*D", "neither a data URL nor base64", id="alphabet"),
        pytest.param("图像", "neither a data URL nor base64", id="not-ascii"),
    ],
)
def test_any_other_image_url_is_a_400_that_names_the_reason(image_url: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_image_url(image_url)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b"{", "not valid JSON", id="torn"),
        pytest.param(b'{"document":"\xff"}', "invalid request|not valid JSON", id="not-utf-8"),
        pytest.param(b'{"x":' + b"[" * 100_000, "not valid JSON", id="too-deep"),
        pytest.param(b"[]", "Expected `object`", id="an-array"),
        pytest.param(b"{}", "missing required field `document`", id="no-document"),
        pytest.param(body(document="x"), r"\$\.document", id="document-is-text"),
        pytest.param(body(document={"type": "image_url"}), "missing required field `image_url`", id="no-image-url"),
        pytest.param(body(document={"image_url": "QUJD"}), "missing required field `type`", id="no-type"),
        pytest.param(body(document={"type": "file", "image_url": "QUJD"}), 'must be "image_url"', id="other-type"),
        pytest.param(body(document={"type": "image_url", "image_url": 1}), r"image_url", id="image-url-is-a-number"),
        pytest.param(body(filename=7), r"\$\.filename", id="filename-is-a-number"),
    ],
)
def test_a_body_that_is_not_the_documented_object_is_rejected_by_field(sent: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_recognition_request(sent)


@pytest.mark.parametrize("sent", [body(filename=None), body(extra=[1, {"a": None}]), body()])
def test_the_name_is_optional_and_unknown_fields_are_ignored(sent: bytes) -> None:
    assert parse_recognition_request(sent).image == base64.b64decode("QUJD")


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png", " http://[::1]/a.png\n"])
def test_the_url_of_an_image_is_returned_and_not_fetched(url: str) -> None:
    request = parse_recognition_request(body(document={"type": "image_url", "image_url": url}))
    assert (request.image, request.url) == (b"", url.strip())


def test_a_request_without_a_name_has_the_empty_name() -> None:
    """The reply's `filename` is text in the API's contract, never null."""
    assert parse_recognition_request(body(filename=None)).filename == ""

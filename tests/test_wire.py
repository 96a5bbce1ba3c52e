"""The wire format: requests are the documented JSON; a reply is parsed, or rejected without being quoted."""

import base64
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire import (
    MEDIA_TYPES,
    InvalidReplyError,
    WireReply,
    build_image_body,
    build_url_body,
    is_api_key,
    is_url,
    parse_reply,
    parse_status_text,
    replace_surrogates,
)

KEY = "sk-a-secret-key"
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too

# Written by hand from the contract, "POST /api/text-recognition".
GOLDEN_REQUEST = (
    b'{"document":{"type":"image_url","image_url":"data:image/jpeg;base64,/9j/4AAQ"},"filename":"scan 1.jpg"}'
)
GOLDEN_URL_REQUEST = (
    b'{"document":{"type":"image_url","image_url":"https://example.org/a.png?x=1&y=2"},"filename":"a.png"}'
)
GOLDEN_REPLY = """{
  "id": "doc_1a2b3c",
  "filename": "scan 1.jpg",
  "content": "第一行 Hello\\nsecond line",
  "format": "text",
  "timestamp": 1640995200000,
  "payload": "https://llmocr.com/api/text-recognition?key=sk-a-secret-key"
}""".encode()


def reply(**changes: object) -> bytes:
    """Return the documented reply with fields changed, or removed where the value is None."""
    fields = json.loads(GOLDEN_REPLY) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


class TestRequests:
    """Bodies of requests."""

    def test_a_request_with_an_image_is_the_contract_s_json(self) -> None:
        assert build_image_body(base64.b64decode("/9j/4AAQ"), MEDIA_TYPES["jpeg"], "scan 1.jpg") == GOLDEN_REQUEST

    def test_a_request_with_a_url_is_the_contract_s_json(self) -> None:
        assert build_url_body("https://example.org/a.png?x=1&y=2", "a.png") == GOLDEN_URL_REQUEST

    @given(st.binary(max_size=200), st.sampled_from(sorted(MEDIA_TYPES.values())), ANY_TEXT)
    def test_any_image_and_any_file_name_make_valid_json(self, image: bytes, media_type: str, filename: str) -> None:
        body = json.loads(build_image_body(image, media_type, filename))
        head, _, data = body["document"].pop("image_url").partition(",")
        assert (head, base64.b64decode(data, validate=True)) == (f"data:{media_type};base64", image)
        assert body == {"document": {"type": "image_url"}, "filename": replace_surrogates(filename)}

    @pytest.mark.parametrize(
        ("filename", "sent"),
        [
            pytest.param('a"b\\c\n\0\x7f.png', 'a"b\\c\n\0\x7f.png', id="json-needs-escapes"),
            pytest.param("扫描 1.png", "扫描 1.png", id="chinese"),
            pytest.param("", "", id="empty"),
            pytest.param("a\udcff.png", "a\N{REPLACEMENT CHARACTER}.png", id="not-utf-8"),
            pytest.param("\ud83d\ude00.png", "\U0001f600.png", id="a-pair-is-a-character"),
        ],
    )
    def test_a_file_name_of_any_characters_is_sent(self, filename: str, sent: str) -> None:
        assert json.loads(build_image_body(b"x", "image/png", filename))["filename"] == sent

    @given(ANY_TEXT)
    def test_only_lone_surrogates_are_replaced(self, text: str) -> None:
        repaired = replace_surrogates(text)
        repaired.encode("utf-8")
        assert replace_surrogates(repaired) == repaired
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        expected = ("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in paired)
        assert repaired == "".join(expected)


class TestReplies:
    """Bodies of replies."""

    def test_the_contract_s_reply_is_parsed(self) -> None:
        assert parse_reply(GOLDEN_REPLY) == WireReply("doc_1a2b3c", "第一行 Hello\nsecond line", 1640995200000)

    @pytest.mark.parametrize(
        ("body", "content"),
        [
            pytest.param(reply(content=""), "", id="a-blank-page-has-no-text"),
            pytest.param(reply(content="a\0b"), "a\0b", id="control-characters"),
            pytest.param(reply(extra={"a": [1]}, format=None, payload=None, filename=None), None, id="other-fields"),
            pytest.param(reply(timestamp=1640995200000.5), None, id="fractional-timestamp"),
            pytest.param(b" \r\n" + GOLDEN_REPLY + b"\n", None, id="space-around"),
        ],
    )
    def test_unusual_but_valid_replies_are_parsed(self, body: bytes, content: str | None) -> None:
        read = parse_reply(body)
        assert (read.content, read.repaired) == ("第一行 Hello\nsecond line" if content is None else content, False)

    @pytest.mark.parametrize(
        ("raw", "content"),
        [
            pytest.param(b'"a\\ud800b"', "a\ufffdb", id="lone-high"),
            pytest.param(b'"a\\udc00b"', "a\ufffdb", id="lone-low"),
            pytest.param(b'"\\ud800\\ud83d\\ude00"', "\ufffd\U0001f600", id="lone-before-a-pair"),
            pytest.param(b'"a\xffb"', "a\ufffdb", id="not-utf-8"),
            pytest.param(b'"a\xed\xa0\x80b"', "a\ufffd\ufffd\ufffdb", id="surrogate-encoded-in-utf-8"),
        ],
    )
    def test_text_that_utf_8_cannot_encode_is_repaired_and_marked(self, raw: bytes, content: str) -> None:
        """A paid text is kept with U+FFFD in it."""
        read = parse_reply(b'{"id":"i","timestamp":1,"content":%b}' % raw)
        assert read == WireReply("i", content, 1, repaired=True)

    def test_a_surrogate_in_the_id_is_replaced(self) -> None:
        """The id becomes part of a record, which is UTF-8."""
        assert parse_reply(b'{"id":"i\\udfff","timestamp":1,"content":"x"}') == WireReply("i\ufffd", "x", 1)

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            pytest.param(b"", "not JSON", id="empty"),
            pytest.param(b"<html>sk-a-secret-key</html>", "not JSON", id="html"),
            pytest.param(GOLDEN_REPLY[:-1], "not JSON", id="half"),
            pytest.param(GOLDEN_REPLY + b"{}", "not JSON", id="two-objects"),
            pytest.param(b"[" * 10_000 + b"]" * 10_000, "not JSON", id="10000-deep"),
            pytest.param(b'{"id":' * 10_000 + b"1" + b"}" * 10_000, "not JSON", id="10000-deep-objects"),
            pytest.param(b"9" * 5_000, "not JSON", id="5000-digits"),
            pytest.param(b"null", "not a JSON object", id="null"),
            pytest.param(b'["sk-a-secret-key"]', "not a JSON object", id="array"),
            pytest.param(b'"sk-a-secret-key"', "not a JSON object", id="string"),
            pytest.param(reply(content=None), "'content'", id="no-content"),
            pytest.param(reply(content=["sk-a-secret-key"]), "'content'", id="content-is-an-array"),
            pytest.param(b'{"id":"i","timestamp":1,"content":null}', "'content'", id="content-is-null"),
            pytest.param(reply(id=None), "'id'", id="no-id"),
            pytest.param(reply(id=7), "'id'", id="id-is-a-number"),
            pytest.param(reply(timestamp=None), "'timestamp'", id="no-timestamp"),
            pytest.param(reply(timestamp="1640995200000"), "'timestamp'", id="timestamp-is-a-string"),
            pytest.param(reply(timestamp=True), "'timestamp'", id="timestamp-is-a-boolean"),
            pytest.param(reply(timestamp=float("nan")), "'timestamp'", id="timestamp-is-nan"),
            pytest.param(reply(timestamp=float("inf")), "'timestamp'", id="timestamp-is-infinite"),
            pytest.param(reply(timestamp=10**30, content="\ud800"), "'timestamp'", id="timestamp-beyond-64-bits"),
        ],
    )
    def test_a_reply_that_is_not_the_documented_object_is_rejected_unquoted(self, body: bytes, problem: str) -> None:
        """The body echoes the key."""
        with pytest.raises(InvalidReplyError, match=problem) as caught:
            parse_reply(body)
        assert KEY not in str(caught.value)
        assert len(str(caught.value)) < 60

    @given(
        st.binary(max_size=60)
        | st.fixed_dictionaries(
            {"id": ANY_TEXT, "content": ANY_TEXT, "timestamp": st.integers() | st.floats()},
        ).map(lambda fields: json.dumps(fields).encode())
    )
    def test_every_parsed_reply_can_be_written_as_json(self, body: bytes) -> None:
        try:
            read = parse_reply(body)
        except InvalidReplyError:
            return
        again = orjson.loads(orjson.dumps([read.id, read.content, read.timestamp_ms]))
        assert again == [read.id, read.content, read.timestamp_ms]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b'{"statusText": "Insufficient quota"}', "Insufficient quota", id="documented"),
        pytest.param('{"statusText": "余额不足"}'.encode(), "余额不足", id="chinese"),
        pytest.param(b'{"statusText": "a\\r\\n\\t b"}', "a b", id="one-line"),
        pytest.param(b'{"statusText": "a\\ud800"}', "a\ufffd", id="lone-surrogate"),
        pytest.param(b'{"statusText": 5}', "", id="not-a-text"),
        pytest.param(b'{"error": "x"}', "", id="no-such-field"),
        pytest.param(b'["statusText"]', "", id="not-an-object"),
        pytest.param(b"<html>502 Bad Gateway</html>", "", id="html"),
        pytest.param(b"", "", id="empty"),
        pytest.param(b"[" * 10_000, "", id="deep"),
    ],
)
def test_the_status_text_of_an_error_is_one_line_or_empty(body: bytes, text: str) -> None:
    """Only the documented field of an error's body is quoted."""
    assert parse_status_text(body) == text


def test_a_long_status_text_is_shortened() -> None:
    assert parse_status_text(b'{"statusText": "%b"}' % (b"x" * 5_000), limit_chars=100) == "x" * 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("https://example.org/a.png", True, id="https"),
        pytest.param("HTTP://[::1]/a.png", True, id="in-capitals"),
        pytest.param("http://", True, id="scheme-alone"),
        pytest.param("ftp://example.org/a.png", False, id="other-scheme"),
        pytest.param("httpx://example.org", False, id="longer-scheme"),
        pytest.param("folder/https://a.png", False, id="path"),
        pytest.param(" https://example.org", False, id="space-in-front"),
        pytest.param("", False, id="empty"),
    ],
)
def test_an_image_is_given_by_url_when_the_text_begins_with_http(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_url(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("sk-a-secret-key", True, id="key"),
        pytest.param("ключ", True, id="not-ascii"),
        pytest.param("", False, id="empty"),
        pytest.param("two words", False, id="space"),
        pytest.param("key\n", False, id="newline"),
        pytest.param("key\x00", False, id="control-character"),
    ],
)
def test_an_api_key_has_neither_spaces_nor_control_characters(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_api_key(text) is expected

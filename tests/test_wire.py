"""The wire format: requests are the documented JSON; a reply is parsed, or rejected without being quoted."""

import base64
import json
import math
from pathlib import Path

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
from tests.factories import QUALITY

KEY = "sk-a-secret-key"
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too

# Written by hand from the contract, "POST /api/text-recognition".
GOLDEN_REQUEST = (
    b'{"document":{"type":"image_url","image_url":"data:image/jpeg;base64,/9j/4AAQ"},"filename":"scan 1.jpg"}'
)
GOLDEN_URL_REQUEST = (
    b'{"document":{"type":"image_url","image_url":"https://example.org/a.png?x=1&y=2"},"filename":"a.png"}'
)
CASES = Path(__file__).parent / "cases"
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


SENT_QUALITY = {
    "score": 0.87124,
    "threshold": 0.5,
    "confidence": {"mean": 0.9731, "minimum": 0.61},
    "unread_ink": 0,
    "unread_type": 0,
    "precision": "f32",
    "more": [1],
}
NO_QUALITIES = [
    pytest.param(None, id="null"),
    pytest.param([], id="array"),
    pytest.param("good", id="text"),
    pytest.param(0.9, id="number"),
    pytest.param({}, id="empty"),
    pytest.param(SENT_QUALITY | {"score": math.nan}, id="nan"),
    pytest.param(SENT_QUALITY | {"score": math.inf}, id="infinite"),
    pytest.param(SENT_QUALITY | {"score": 1.01}, id="above-1"),
    pytest.param(SENT_QUALITY | {"unread_ink": -0.1}, id="below-0"),
    pytest.param(SENT_QUALITY | {"score": 10**400}, id="beyond-floats"),
    pytest.param(SENT_QUALITY | {"score": True}, id="boolean"),
    pytest.param(SENT_QUALITY | {"score": "0.9"}, id="digits"),
    pytest.param(SENT_QUALITY | {"threshold": None}, id="no-threshold"),
    pytest.param(SENT_QUALITY | {"confidence": {"mean": 0.5}}, id="half-a-confidence"),
    pytest.param(SENT_QUALITY | {"precision": "\ud800"}, id="lone-surrogate"),
    pytest.param(SENT_QUALITY | {"precision": "x" * 17}, id="long-precision"),
    pytest.param(SENT_QUALITY | {"precision": {"a": [{}] * 100}}, id="nested"),
]
"""JSON values that are no quality."""


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
        assert (read.content, read.note) == ("第一行 Hello\nsecond line" if content is None else content, None)

    @pytest.mark.parametrize(
        ("raw", "content"),
        [
            pytest.param(b'"a\\ud800b"', "a\ufffdb", id="lone-high"),
            pytest.param(b'"a\\udc00b"', "a\ufffdb", id="lone-low"),
            pytest.param(b'"\\ud800\\ud83d\\ude00"', "\ufffd\U0001f600", id="lone-before-a-pair"),
        ],
    )
    def test_a_surrogate_that_utf_8_cannot_encode_is_replaced_and_noted(self, raw: bytes, content: str) -> None:
        """No byte of the reply is lost by that."""
        read = parse_reply(b'{"id":"i","timestamp":1,"content":%b}' % raw)
        assert read == WireReply("i", content, 1, note="lone surrogates replaced by U+FFFD")

    @pytest.mark.parametrize(
        ("raw", "content"),
        [
            pytest.param(b'"a\xffb"', "a\ufffdb", id="not-utf-8"),
            pytest.param(b'"a\xed\xa0\x80b"', "a\ufffd\ufffd\ufffdb", id="surrogate-encoded-in-utf-8"),
            pytest.param(b'"%b"' % "收据".encode("gb18030"), "\ufffd\u057e\ufffd", id="undeclared-gb18030"),
        ],
    )
    def test_a_text_with_bytes_that_cannot_be_decoded_is_kept_as_lossy(self, raw: bytes, content: str) -> None:
        """The caller keeps the reply's bytes beside it."""
        read = parse_reply(b'{"id":"i","timestamp":1,"content":%b}' % raw)
        assert (read.content, read.is_lossy) == (content, True)
        assert read.note is not None

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
            pytest.param(b"9" * 5_000, "not a JSON object", id="5000-digits"),
            pytest.param(b"null", "not a JSON object", id="null"),
            pytest.param(b'["sk-a-secret-key"]', "not a JSON object", id="array"),
            pytest.param(b'"sk-a-secret-key"', "not a JSON object", id="string"),
            pytest.param(reply(content=None), "'content'", id="no-content"),
            pytest.param(reply(content=["sk-a-secret-key"]), "'content'", id="content-is-an-array"),
        ],
    )
    def test_a_reply_without_a_text_is_rejected_unquoted(self, body: bytes, problem: str) -> None:
        """The body echoes the key."""
        with pytest.raises(InvalidReplyError, match=problem) as caught:
            parse_reply(body)
        assert KEY not in str(caught.value)
        assert len(str(caught.value)) < 60

    @pytest.mark.parametrize("case", ["reply-bom", "reply-gb18030", "reply-fields"])
    def test_a_paid_text_of_the_collected_cases_is_kept(self, case: str) -> None:
        """Each reply was paid three times and thrown away, or stored as U+FFFD."""
        charset = "GB18030" if case == "reply-gb18030" else None
        files = sorted((CASES / case).glob("*.json"))
        assert files
        for file in files:
            read = parse_reply(file.read_bytes(), charset)
            assert read.content in {"收据 编号 008365", "hello text"}
            assert (read.note, read.is_lossy) == (None, False)

    @pytest.mark.parametrize(
        ("field", "kept"),
        [
            pytest.param(7, "7", id="number"),
            pytest.param(1.5, "1.5", id="fraction"),
            pytest.param(None, None, id="missing"),
            pytest.param([1], None, id="array"),
            pytest.param(True, None, id="boolean"),
            pytest.param("", "", id="empty"),
        ],
    )
    def test_any_id_keeps_the_text(self, field: object, kept: str | None) -> None:
        assert parse_reply(reply(id=field)) == WireReply(kept, "第一行 Hello\nsecond line", 1640995200000)

    @pytest.mark.parametrize(
        ("field", "kept"),
        [
            pytest.param(None, None, id="missing"),
            pytest.param("1640995200000", 1640995200000, id="digits"),
            pytest.param("2026-01-31T12:00:00Z", None, id="other-text"),
            pytest.param(True, None, id="boolean"),
            pytest.param(float("nan"), None, id="nan"),
            pytest.param(float("inf"), None, id="infinite"),
            pytest.param(10**30, None, id="beyond-64-bits"),
            pytest.param({"ms": 1}, None, id="object"),
        ],
    )
    def test_any_timestamp_keeps_the_text(self, field: object, kept: int | None) -> None:
        assert parse_reply(reply(timestamp=field)) == WireReply("doc_1a2b3c", "第一行 Hello\nsecond line", kept)

    @pytest.mark.parametrize("name", ["id", "timestamp"])
    def test_an_id_or_timestamp_of_null_keeps_the_text(self, name: str) -> None:
        body = GOLDEN_REPLY.replace(b'"%b": ' % name.encode(), b'"%b": null, "was": ' % name.encode())
        assert parse_reply(body).content == "第一行 Hello\nsecond line"

    def test_the_quality_that_the_service_sends_is_kept(self) -> None:
        assert parse_reply(reply(quality=SENT_QUALITY)).quality == QUALITY
        assert parse_reply(GOLDEN_REPLY).quality is None

    @pytest.mark.parametrize("sent", NO_QUALITIES)
    def test_any_other_quality_keeps_the_text(self, sent: object) -> None:
        assert parse_reply(reply(quality=sent)) == parse_reply(GOLDEN_REPLY)

    def test_a_content_of_null_is_an_empty_text_with_a_note(self) -> None:
        read = parse_reply(b'{"id":"i","timestamp":1,"content":null}')
        assert (read.content, read.note) == ("", "the reply's content is null")

    def test_a_number_of_ten_thousand_digits_in_another_field_keeps_the_text(self) -> None:
        """Python limits the digits of an integer."""
        assert parse_reply(reply(content="text")[:-1] + b',"n":' + b"9" * 10_000 + b"}").content == "text"

    @pytest.mark.parametrize(
        ("charset", "encoding"),
        [
            pytest.param(None, "utf-8", id="none"),
            pytest.param("utf-8", "utf-8", id="utf-8"),
            pytest.param("UTF8", "utf-8", id="utf-8-by-another-name"),
            pytest.param(None, "utf-8-sig", id="utf-8-with-a-mark"),
            pytest.param("utf-8", "utf-16", id="utf-16-with-a-mark-declared-as-utf-8"),
            pytest.param(None, "utf-16-le", id="utf-16-without-a-mark"),
            pytest.param("utf-16", "utf-16-be", id="utf-16-be"),
            pytest.param(None, "utf-32", id="utf-32"),
            pytest.param("GB18030", "gb18030", id="gb18030"),
            pytest.param("gb2312", "gbk", id="gb2312-that-is-gbk"),
            pytest.param("Big5", "big5hkscs", id="big5"),
            pytest.param("iso-8859-1", "utf-8", id="latin-1-that-is-utf-8"),
            pytest.param("GBK", "utf-8", id="gbk-that-is-utf-8"),
            pytest.param("no-such-charset", "utf-8", id="unknown-charset"),
            pytest.param("unicode_escape", "utf-8", id="codec-that-is-no-charset"),
        ],
    )
    @pytest.mark.parametrize("text", ["收據 編號 008365 第一行", "plain", "一"])
    def test_a_text_is_decoded_by_its_mark_its_charset_or_as_utf_8(
        self, charset: str | None, encoding: str, text: str
    ) -> None:
        if encoding == "gbk":
            text = text.replace("據", "据").replace("編號", "编号")
        read = parse_reply(json.dumps({"id": "i", "content": text}, ensure_ascii=False).encode(encoding), charset)
        assert (read.content, read.note, read.is_lossy) == (text, None, False)

    @pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "latin1"])
    def test_a_latin_1_text_is_decoded_as_declared(self, charset: str) -> None:
        body = json.dumps({"id": "i", "content": "café – no. 1"}, ensure_ascii=False).encode("cp1252")
        assert parse_reply(body, charset).content == "café – no. 1"

    @given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=40))
    def test_any_chinese_text_survives_gb18030(self, text: str) -> None:
        """Also words whose bytes are valid UTF-8, as of two characters that some editors take for it."""
        body = json.dumps({"content": text}, ensure_ascii=False).encode("gb18030")
        assert parse_reply(body, "GB18030").content == text

    @given(
        st.binary(max_size=60)
        | st.fixed_dictionaries(
            {"id": ANY_TEXT | st.integers(), "content": ANY_TEXT, "timestamp": st.integers() | st.floats() | ANY_TEXT},
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

"""Complete HTTP replies with undocumented content: bodies, content encodings, sizes and statuses."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import methodcaller
from typing import Final

from pipeline.remote.verdict import Accepted, Blocked, Failed, PageRejected, Refused, Stop, Verdict
from pipeline.wire import REPLY_MAX_BYTES
from tests.faults.breakage import SLOW_PAUSE_S, Breakage, Build, acts, constant, pour, sends
from tests.faults.raw_server import Exchange, head, response

DEEP: Final = 10_000

_GZIP_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_EMPTY_BLOCKS: Final = b"\0\0\0\xff\xff" * 13_000
"""Stored blocks of length 0 (RFC 1951, 3.2.4): they decompress to no byte."""


def bodies() -> Iterator[Breakage]:
    """Bodies that are not, or only just, the documented JSON."""
    for name, body in (
        ("html", b"<!doctype html><html><body><h1>It works!</h1></body></html>"),
        ("nothing", b""),
        ("null", b"null"),
        ("array", b"[]"),
        ("string", b'"text"'),
        ("number", b"200"),
        ("not-utf-8", b"\xff\xfe\xfd"),
        ("10000-deep", b"[" * DEEP + b"]" * DEEP),
        ("10000-deep-and-unclosed", b'{"a":' * DEEP),
        ("an-error-with-200", b'{"statusText":"Internal Server Error"}'),
    ):
        yield sends(f"body-{name}", constant(response(body)), "stay")
    for name, content in (("a-number", 5), ("a-list", ["text"])):
        yield sends(f"body-with-content-{name}", partial(_with_fields, {"content": content}), "stay")
    # not in runs: the page gets an empty text
    null: Build = partial(_with_fields, {"content": None})
    yield sends("body-with-content-null", null, "stay", verdict=Accepted, in_runs=False)
    odd: Sequence[tuple[str, Mapping[str, object]]] = (
        ("id-a-number", {"id": 5}),
        ("id-null", {"id": None}),
        ("timestamp-a-text", {"timestamp": "now"}),
        ("timestamp-true", {"timestamp": True}),
        ("timestamp-infinite", {"timestamp": float("inf")}),
        ("timestamp-no-number", {"timestamp": float("nan")}),
        ("timestamp-beyond-64-bits", {"timestamp": 10**30}),
    )
    for name, fields in odd:
        yield sends(f"body-with-{name}", partial(_with_fields, fields), "stay", verdict=Accepted)
    yield sends("body-half-json", lambda e: response(e.json()[:-20]), "stay")
    yield sends("body-two-objects", lambda e: response(2 * e.json()), "stay")
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"):
        yield sends(f"body-in-{encoding}", partial(_encoded, encoding), "stay", verdict=Accepted)
    yield sends("body-without-content", lambda e: response(e.json().replace(b'"content"', b'"text"')), "stay")
    digits: Build = lambda e: response(e.json()[:-1] + b',"n":' + b"9" * DEEP + b"}")  # noqa: E731
    yield sends("body-with-10000-digits", digits, "stay", verdict=Accepted)
    deep = b',"n":' + b"[" * DEEP + b"]" * DEEP + b"}"
    yield sends("body-10000-deep-beside-the-text", lambda e: response(e.json()[:-1] + deep), "stay")
    yield from _odd_texts()


def _with_fields(fields: Mapping[str, object], exchange: Exchange) -> bytes:
    return response(exchange.json(**fields))


def _encoded(encoding: str, exchange: Exchange) -> bytes:
    return response(exchange.json().decode().encode(encoding))


def _odd_texts() -> Iterator[Breakage]:
    """Odd texts that must be kept, because they were paid for."""
    for name, tail in (
        ("lone-surrogates", "\ud800\udfff\udc00"),
        ("zeros-and-newlines", "\0\n\r\u2028\x1b[31m"),
        ("a-hundred-thousand-letters", "字" * 100_000),
    ):
        yield sends(f"text-with-{name}", partial(_with_tail, tail), "stay", verdict=Accepted)
    content_twice: Build = lambda e: response(b'{"content":"of another",' + e.json()[1:])  # noqa: E731
    yield sends("content-twice", content_twice, "stay", verdict=Accepted)
    latin_1: Build = lambda e: response(e.json()[:-1] + b',"x":"\xe9"}')  # noqa: E731
    yield sends("a-byte-that-is-not-utf-8", latin_1, "stay", verdict=Accepted)


def _with_tail(tail: str, exchange: Exchange) -> bytes:
    return response(exchange.json(content=f"text of {exchange.digest[:12]}{tail}"))


def encodings() -> Iterator[Breakage]:
    """Bodies that are compressed, or whose Content-Encoding claims it."""
    for encoding in ("gzip", "deflate", "br", "zstd"):
        yield sends(f"not-{encoding}", methodcaller("reply", f"Content-Encoding: {encoding}"))
    yield sends("gzip-cut-short", lambda e: e.encoded_reply("gzip", lambda text: gzip.compress(text)[:-30]))
    yield sends(
        "gzip-with-a-wrong-sum", lambda e: e.encoded_reply("gzip", lambda text: gzip.compress(text)[:-8] + b"\0" * 8)
    )
    yield sends("gzip-bomb", constant(response(_bomb(), "200 OK", "Content-Encoding: gzip")))
    without_checksum: Build = lambda e: e.encoded_reply("gzip", lambda text: gzip.compress(text)[:-8])  # noqa: E731
    # accepted: the JSON object is closed, so the text is complete
    yield sends("gzip-without-its-sum", without_checksum, "stay", verdict=Accepted)
    yield sends("gzip", lambda e: e.encoded_reply("gzip", gzip.compress), "stay", verdict=Accepted)
    yield sends("deflate", lambda e: e.encoded_reply("deflate", zlib.compress), "stay", verdict=Accepted)
    yield sends("unheard-of-encoding", lambda e: e.reply("Content-Encoding: x-rot13"), "stay", verdict=Accepted)
    begin = head("Content-Encoding: gzip") + _GZIP_HEAD
    yield acts("endless-gzip-of-nothing", partial(pour, begin, _EMPTY_BLOCKS, pause_s=SLOW_PAUSE_S))


def _bomb() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(compressor.compress(bytes(1 << 20)) for _ in range(100)), compressor.flush()])


def sizes() -> Iterator[Breakage]:
    """Bodies that never end, are too long, or arrive slowly."""
    yield acts("endless-body", partial(pour, head(), bytes(65_536)))
    yield acts("endless-chunks", partial(pour, head("Transfer-Encoding: chunked"), b"10000\r\n%b\r\n" % bytes(65_536)))
    yield acts("endless-spaces", partial(pour, head(), b" " * 65_536))
    yield sends("a-byte-too-much", constant(response(bytes(REPLY_MAX_BYTES + 1))), "stay")
    yield acts("one-byte-a-second", partial(pour, head(), b" ", pause_s=SLOW_PAUSE_S))
    chunked = head("Transfer-Encoding: chunked")
    yield acts("one-chunk-a-second", partial(pour, chunked, b"1\r\n \r\n", pause_s=SLOW_PAUSE_S))


def statuses() -> Iterator[Breakage]:
    """Redirects, undocumented statuses and errors."""
    for status in (300, 301, 302, 303, 305, 307, 308):
        yield sends(f"redirect-{status}", partial(_redirect, status), "stay", verdict=Blocked)
    empty_replies: Sequence[tuple[type[Verdict], Sequence[int]]] = (
        (Failed, (201, 202, 204, 205, 206, 408, 500, 501, 502, 504, 520, 529)),
        (Blocked, (304, 409, 410, 418, 423, 451)),
        (Refused, (503,)),
    )
    for verdict, numbers in empty_replies:
        for status in numbers:
            empty = head("Content-Length: 0", status=f"{status} No")
            yield sends(f"status-{status}", constant(empty), "stay", verdict=verdict)
    yield sends("status-201-with-a-text", lambda e: response(e.json(), "201 Created"), "stay", verdict=Accepted)
    yield sends("status-206-with-a-part", lambda e: response(e.json()[:20], "206 Part", "Content-Range: bytes 0-19/99"))
    yield sends("status-204-with-a-body", lambda e: response(e.json(), "204 No Content"))
    for status in (400, 413, 415, 422):
        body = json.dumps({"statusText": "not this page"}).encode()
        yield sends(f"status-{status}", constant(response(body, f"{status} No")), "stay", verdict=PageRejected)
    for name, status, headers in (
        ("status-429", 429, ()),
        ("status-429-wait-twice", 429, ("Retry-After: 1", "Retry-After: 9999")),
        ("status-503-wait", 503, ("Retry-After: 1",)),
    ):
        error = response(b'{"statusText":"slow', f"{status} No", *headers)
        yield sends(name, constant(error), "stay", verdict=Refused)
    yield sends("status-429-page", constant(response(b"<p>", "429 No")), "stay", verdict=Refused)
    for status, verdict in ((401, Stop), (402, Stop), (403, Refused), (404, Blocked)):
        page = constant(response(b"<p>", f"{status} No"))
        yield sends(f"status-{status}", page, verdict=verdict, in_runs=False)
    forbidden = constant(response(b'{"statusText":"no"}', "403 No"))
    yield sends("status-403-of-the-api", forbidden, verdict=Stop, in_runs=False)


def _redirect(status: int, exchange: Exchange) -> bytes:
    return response(b"", f"{status} Elsewhere", f"Location: {exchange.server.redirect_url}/api/text-recognition")

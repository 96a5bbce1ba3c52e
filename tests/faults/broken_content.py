"""Whole replies that say the wrong thing: other bodies, packings, sizes and statuses than the documented ones."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import methodcaller
from typing import Final

from pipeline.remote.verdict import Accepted, PageRejected, Refused, Stop
from pipeline.wire import REPLY_MAX_BYTES
from tests.faults.breakage import PATIENCE_S, Breakage, Build, do, plain, pour, say
from tests.faults.raw_server import Exchange, head, response

DEEP: Final = 10_000

_GZIP_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_EMPTY_BLOCKS: Final = b"\0\0\0\xff\xff" * 13_000
"""Stored blocks of no length (RFC 1951, 3.2.4): they unpack to nothing."""


def bodies() -> Iterator[Breakage]:
    """Whole replies with a body that is not the documented one, or only just."""
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
        yield say(f"body-{name}", plain(response(body)), "stay")
    wrong: Sequence[tuple[str, Mapping[str, object]]] = (
        ("content-null", {"content": None}),
        ("content-a-number", {"content": 5}),
        ("content-a-list", {"content": ["text"]}),
        ("id-a-number", {"id": 5}),
        ("timestamp-a-text", {"timestamp": "now"}),
        ("timestamp-true", {"timestamp": True}),
        ("timestamp-infinite", {"timestamp": float("inf")}),
        ("timestamp-no-number", {"timestamp": float("nan")}),
        ("timestamp-beyond-64-bits", {"timestamp": 10**30}),
    )
    for name, fields in wrong:
        yield say(f"body-with-{name}", partial(_with_fields, fields), "stay")
    yield say("body-half-json", lambda e: response(e.text()[:-20]), "stay")
    yield say("body-two-objects", lambda e: response(2 * e.text()), "stay")
    yield say("body-utf-16", lambda e: response(e.text().decode().encode("utf-16")), "stay")
    yield say("body-with-a-byte-order-mark", lambda e: response(b"\xef\xbb\xbf" + e.text()), "stay")
    yield say("body-without-content", lambda e: response(e.text().replace(b'"content"', b'"text"')), "stay")
    yield say("body-with-10000-digits", lambda e: response(e.text()[:-1] + b',"n":' + b"9" * DEEP + b"}"), "stay")
    deep = b',"n":' + b"[" * DEEP + b"]" * DEEP + b"}"
    yield say("body-10000-deep-beside-the-text", lambda e: response(e.text()[:-1] + deep), "stay")
    yield from _strange_texts()


def _with_fields(fields: Mapping[str, object], exchange: Exchange) -> bytes:
    return response(exchange.text(**fields))


def _strange_texts() -> Iterator[Breakage]:
    """Texts that are strange and must be kept: they were paid for."""
    for name, tail in (
        ("lone-surrogates", "\ud800\udfff\udc00"),
        ("zeros-and-newlines", "\0\n\r\u2028\x1b[31m"),
        ("a-hundred-thousand-letters", "字" * 100_000),
    ):
        yield say(f"text-with-{name}", partial(_with_tail, tail), "stay", verdict=Accepted)
    twice: Build = lambda e: response(b'{"content":"of another",' + e.text()[1:])  # noqa: E731
    yield say("content-twice", twice, "stay", verdict=Accepted)
    latin: Build = lambda e: response(e.text()[:-1] + b',"x":"\xe9"}')  # noqa: E731
    yield say("a-byte-that-is-not-utf-8", latin, "stay", verdict=Accepted)


def _with_tail(tail: str, exchange: Exchange) -> bytes:
    return response(exchange.text(content=f"text of {exchange.digest[:12]}{tail}"))


def encodings() -> Iterator[Breakage]:
    """Bodies that are packed, or claim to be."""
    for encoding in ("gzip", "deflate", "br", "zstd"):
        yield say(f"not-{encoding}", methodcaller("good", f"Content-Encoding: {encoding}"))
    yield say("gzip-cut-short", lambda e: e.packed("gzip", lambda text: gzip.compress(text)[:-30]))
    yield say("gzip-with-a-wrong-sum", lambda e: e.packed("gzip", lambda text: gzip.compress(text)[:-8] + b"\0" * 8))
    yield say("gzip-bomb", plain(response(_bomb(), "200 OK", "Content-Encoding: gzip")))
    sumless: Build = lambda e: e.packed("gzip", lambda text: gzip.compress(text)[:-8])  # noqa: E731
    yield say("gzip-without-its-sum", sumless, "stay", verdict=Accepted)  # its object closes, so the text is whole
    yield say("gzip", lambda e: e.packed("gzip", gzip.compress), "stay", verdict=Accepted)
    yield say("deflate", lambda e: e.packed("deflate", zlib.compress), "stay", verdict=Accepted)
    yield say("unheard-of-encoding", lambda e: e.good("Content-Encoding: x-rot13"), "stay", verdict=Accepted)
    begin = head("Content-Encoding: gzip") + _GZIP_HEAD
    yield do("endless-gzip-of-nothing", partial(pour, begin, _EMPTY_BLOCKS, pause_s=PATIENCE_S))


def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(100)), packer.flush()])


def sizes() -> Iterator[Breakage]:
    """Bodies without end, and bodies that come slowly."""
    yield do("endless-body", partial(pour, head(), bytes(65_536)))
    yield do("endless-chunks", partial(pour, head("Transfer-Encoding: chunked"), b"10000\r\n%b\r\n" % bytes(65_536)))
    yield do("endless-spaces", partial(pour, head(), b" " * 65_536))
    yield say("a-byte-too-much", plain(response(bytes(REPLY_MAX_BYTES + 1))), "stay")
    yield do("one-byte-a-second", partial(pour, head(), b" ", pause_s=PATIENCE_S))
    chunked = head("Transfer-Encoding: chunked")
    yield do("one-chunk-a-second", partial(pour, chunked, b"1\r\n \r\n", pause_s=PATIENCE_S))


def statuses() -> Iterator[Breakage]:
    """Statuses that are no answer."""
    for status in (300, 301, 302, 303, 305, 307, 308):
        yield say(f"redirect-{status}", partial(_redirect, status), "stay")
    for status in (201, 202, 204, 205, 206, 304, 402, 408, 409, 418, 500, 501, 502, 503, 504, 520, 529):
        empty = head("Content-Length: 0", status=f"{status} No")
        yield say(f"status-{status}", plain(empty), "stay")
    yield say("status-206-with-a-part", lambda e: response(e.text()[:20], "206 Part", "Content-Range: bytes 0-19/99"))
    yield say("status-204-with-a-body", lambda e: response(e.text(), "204 No Content"))
    for status in (400, 413, 415, 422):
        body = json.dumps({"statusText": "not this page"}).encode()
        yield say(f"status-{status}", plain(response(body, f"{status} No")), "stay", verdict=PageRejected)
    for name, status, headers in (
        ("status-429", 429, ()),
        ("status-429-wait-twice", 429, ("Retry-After: 1", "Retry-After: 9999")),
        ("status-503-wait", 503, ("Retry-After: 1",)),
    ):
        refusal = response(b'{"statusText":"slow', f"{status} No", *headers)
        yield say(name, plain(refusal), "stay", verdict=Refused)
    for status in (401, 403, 404):
        yield say(f"status-{status}", plain(response(b"<p>", f"{status} No")), verdict=Stop, in_runs=False)


def _redirect(status: int, exchange: Exchange) -> bytes:
    return response(b"", f"{status} Elsewhere", f"Location: {exchange.server.elsewhere}/api/text-recognition")

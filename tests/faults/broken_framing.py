"""Replies that are broken as HTTP: truncated, of the wrong length, with odd headers, too early, or two for one."""

import asyncio
import gzip
from collections.abc import Iterator, Sequence
from functools import partial
from operator import methodcaller

from pipeline.remote.verdict import Accepted, Failed, PageRejected, Refused, Stop
from tests.faults.breakage import SLOW_PAUSE_S, Breakage, Build, acts, constant, pour, sends
from tests.faults.raw_server import Behaviour, Exchange, head, response, send_and


def truncated_replies() -> Iterator[Breakage]:
    """Replies that break off: the connection is closed, is reset, or stays silent."""
    places: Sequence[tuple[str, Build]] = (
        ("before-the-head", constant(b"")),
        ("within-the-status", constant(b"HTTP/1.1 2")),
        ("within-a-header", lambda e: e.reply()[:40]),
        ("between-head-and-body", lambda e: e.reply()[: -len(e.json())]),
        ("within-the-body", lambda e: e.reply()[: -len(e.json()) // 2]),
        ("before-the-last-byte", lambda e: e.reply()[:-1]),
        ("within-a-chunk", lambda e: e.chunked_reply(b"%x\r\n%b")[:-20]),
        ("before-the-last-chunk", lambda e: e.chunked_reply(b"%x\r\n%b\r\n")),
        ("within-gzip", lambda e: e.encoded_reply("gzip", gzip.compress)[:-12]),
    )
    for ending in ("close", "reset", "hang"):
        for place, build in places:
            yield sends(f"{ending}-{place}", build, ending)
    yield sends("reset-after-a-whole-reply", Exchange.reply, "reset", verdict=Accepted)


def wrong_lengths() -> Iterator[Breakage]:
    """Replies whose length is not the one in their head."""
    lengths = (
        ("negative", "-5"),
        ("no-number", "many"),
        ("beyond-64-bits", str(2**70)),
        ("hexadecimal", "0x2d"),
        ("empty", ""),
    )
    for name, length in lengths:
        yield sends(f"length-{name}", partial(_prepend, head(f"Content-Length: {length}")))
    for ending in ("close", "hang"):
        yield sends(f"length-too-long-and-{ending}", lambda e: e.reply().replace(b"-Length: ", b"-Length: 1"), ending)
    yield sends("length-too-short", lambda e: head("Content-Length: 20") + e.json(), "stay")
    yield sends("length-zero", lambda e: head("Content-Length: 0") + e.json(), "stay")
    yield sends("two-lengths", lambda e: e.reply("Content-Length: 3"))
    yield sends("length-and-chunks", lambda e: head("Content-Length: 9", "Transfer-Encoding: chunked") + e.json())
    yield sends("chunk-size-garbage", lambda e: e.chunked_reply(b"zz%x\r\n%b\r\n0\r\n\r\n"))
    yield sends("chunk-size-negative", lambda e: e.chunked_reply(b"-%x\r\n%b\r\n0\r\n\r\n"))
    yield sends("chunk-size-huge", lambda e: e.chunked_reply(b"ffffffffffffffff%x\r\n%b\r\n0\r\n\r\n"))
    yield sends("chunk-longer-than-it-says", lambda e: e.chunked_reply(b"%x\r\n%bmore\r\n0\r\n\r\n"))
    yield sends("no-length-but-the-end", lambda e: head() + e.json(), verdict=Accepted)
    yield sends("chunks-of-one-byte", _tiny_chunks, "stay", verdict=Accepted)


def _prepend(start: bytes, exchange: Exchange) -> bytes:
    return start + exchange.json()


def _tiny_chunks(exchange: Exchange) -> bytes:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in exchange.json())
    return head("Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"


def malformed_http() -> Iterator[Breakage]:
    """Replies that are not HTTP, or not the version that was asked for."""
    for name, data in (
        ("garbage", b"\0\xff\xfegarbage\r\n\r\n"),
        ("another-protocol", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("no-status", b"HTTP/1.1 2x0 OK\r\n\r\n"),
        ("status-of-one-digit", b"HTTP/1.1 2 OK\r\nContent-Length: 0\r\n\r\n"),
        ("status-999", b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"),
        ("http-7", b"HTTP/7.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ):
        yield sends(name, constant(data))
    yield sends("http-0.9", Exchange.json)
    yield sends("http-1.0", lambda e: b"HTTP/1.0 200 OK\r\n\r\n" + e.json(), verdict=Accepted)
    yield sends("no-reason", lambda e: e.reply().replace(b"200 OK", b"200", 1), "stay", verdict=Accepted)
    yield sends("switching-protocols", constant(head("Upgrade: h2c", "Connection: Upgrade", status="101 Go")), "hang")
    yield sends("continue-noise", lambda e: 3 * head(status="100 Continue") + e.reply(), "stay", verdict=Accepted)
    yield sends("early-hints", lambda e: head("Link: </a>", status="103 Hints") + e.reply(), "stay", verdict=Accepted)
    yield acts("endless-continue", partial(pour, b"", 1000 * head(status="100 Continue"), pause_s=SLOW_PAUSE_S))


def odd_headers() -> Iterator[Breakage]:
    """Replies with malformed, huge, duplicate or endless headers."""
    for name, header in (
        ("header-of-100-kB", "X-A: " + "a" * 100_000),
        ("header-without-a-colon", "no colon"),
        ("header-with-a-zero-byte", "X-A: a\0b"),
        ("header-with-a-space-in-its-name", "X A: a"),
        ("100000-headers", "\r\n".join(f"X-{number}: a" for number in range(100_000))),
    ):
        yield sends(name, methodcaller("reply", header))
    for name, headers in (
        ("content-type-twice", ("Content-Type: text/html; charset=nonsense", "Content-Type: image/png")),
        ("date-twice", ("Date: yesterday", "Date: Sat, 31 Jan 2026 11:00:00 GMT")),
        ("retry-after-of-a-200", ("Retry-After: 7200", "Retry-After: -1")),
        ("cookies", ("Set-Cookie: a=b; Path=/", "Set-Cookie: " + "c" * 4000)),
        ("header-of-no-charset", ("X-A: caf\xe9\xff",)),
        ("header-of-20-kB", ("X-A: " + "a" * 20_000,)),
        ("location-of-a-200", ("Location: http://127.0.0.1:9/", "Refresh: 0; url=http://127.0.0.1:9/")),
    ):
        yield sends(name, methodcaller("reply", *headers), "stay", verdict=Accepted)
    yield acts("endless-header", partial(pour, b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65_536))
    yield acts("endless-headers", partial(pour, b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n" * 8_192))
    yield acts("one-header-a-second", partial(pour, b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n", pause_s=SLOW_PAUSE_S))


def early_answers() -> Iterator[Breakage]:
    """Answers that are sent before the server has read the request's body."""
    for name, status, verdict in (
        ("400", "400 No", PageRejected),
        ("413", "413 No", PageRejected),
        ("429", "429 No\r\nRetry-After: 1", Refused),
        ("503", "503 No\r\nRetry-After: 1", Refused),
        ("500", "500 No", Failed),
        ("401", "401 No", Stop),
        ("403", "403 No", Stop),
    ):
        answer = constant(response(b'{"statusText":"at once"}', status, "Connection: close"))
        for ending in ("close", "reset", "hang"):
            behaviour = Behaviour(f"early-{name}-and-{ending}", send_and(ending, answer), early=True)
            yield Breakage(behaviour, verdict, in_runs=verdict is not Stop)
    yield Breakage(Behaviour("early-text", send_and("hang", Exchange.reply), early=True), in_runs=False)
    yield Breakage(Behaviour("early-reset", send_and("reset", constant(b"")), early=True))
    yield Breakage(Behaviour("early-close", send_and("close", constant(b"")), early=True))
    yield Breakage(Behaviour("early-silence", _ignore, early=True))


async def _ignore(exchange: Exchange) -> None:
    """Never read and never answer."""
    del exchange
    await asyncio.Event().wait()


def two_replies() -> Iterator[Breakage]:
    """Two replies, or extra bytes, for one request: the next page must not get them."""
    yield sends("two-replies-at-once", lambda e: e.reply() + _foreign_reply(e), "stay", verdict=Accepted)
    # not in runs: a second reply that arrives after the next request was sent cannot be told from its own reply
    for name, wait_s in (("in-a-row", 0.0), ("one-later", SLOW_PAUSE_S / 10)):
        yield Breakage(Behaviour(f"two-replies-{name}", partial(_reply_twice, wait_s)), Accepted, in_runs=False)
    yield sends("a-newline-too-much", lambda e: e.reply() + b"\r\n", "stay", verdict=Accepted)
    yield sends("garbage-behind-the-reply", lambda e: e.reply() + b"garbage\r\n", "stay")
    yield sends("an-error-and-a-reply", lambda e: response(b"{}", "500 No") + _foreign_reply(e), "stay")


def _foreign_reply(exchange: Exchange) -> bytes:
    return response(exchange.json(content="text of another page"))


async def _reply_twice(wait_s: float, exchange: Exchange) -> None:
    await exchange.send(exchange.reply())
    await asyncio.sleep(wait_s)
    await exchange.send(_foreign_reply(exchange))

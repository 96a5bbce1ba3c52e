"""Replies that are broken as HTTP: cut off, of the wrong length, with strange heads, too early, or two for one."""

import asyncio
import gzip
from collections.abc import Iterator, Sequence
from functools import partial
from operator import methodcaller

from pipeline.remote.verdict import Accepted, Failed, PageRejected, Refused, Stop
from tests.faults.breakage import PATIENCE_S, Breakage, Build, act_by, do, plain, pour, say
from tests.faults.raw_server import Exchange, Way, head, response


def cut() -> Iterator[Breakage]:
    """Replies that break off: closed, reset, or never continued."""
    places: Sequence[tuple[str, Build]] = (
        ("before-the-head", plain(b"")),
        ("within-the-status", plain(b"HTTP/1.1 2")),
        ("within-a-header", lambda e: e.good()[:40]),
        ("between-head-and-body", lambda e: e.good()[: -len(e.text())]),
        ("within-the-body", lambda e: e.good()[: -len(e.text()) // 2]),
        ("before-the-last-byte", lambda e: e.good()[:-1]),
        ("within-a-chunk", lambda e: e.chunked(b"%x\r\n%b")[:-20]),
        ("before-the-last-chunk", lambda e: e.chunked(b"%x\r\n%b\r\n")),
        ("within-gzip", lambda e: e.packed("gzip", gzip.compress)[:-12]),
    )
    for ending in ("close", "reset", "hang"):
        for place, build in places:
            yield say(f"{ending}-{place}", build, ending)
    yield say("reset-after-a-whole-reply", Exchange.good, "reset", verdict=Accepted)


def lengths() -> Iterator[Breakage]:
    """Replies whose length is not what their head says."""
    lengths = (
        ("negative", "-5"),
        ("no-number", "many"),
        ("beyond-64-bits", str(2**70)),
        ("hexadecimal", "0x2d"),
        ("empty", ""),
    )
    for name, length in lengths:
        yield say(f"length-{name}", partial(_behind, head(f"Content-Length: {length}")))
    for ending in ("close", "hang"):
        yield say(f"length-too-long-and-{ending}", lambda e: e.good().replace(b"-Length: ", b"-Length: 1"), ending)
    yield say("length-too-short", lambda e: head("Content-Length: 20") + e.text(), "stay")
    yield say("length-zero", lambda e: head("Content-Length: 0") + e.text(), "stay")
    yield say("two-lengths", lambda e: e.good("Content-Length: 3"))
    yield say("length-and-chunks", lambda e: head("Content-Length: 9", "Transfer-Encoding: chunked") + e.text())
    yield say("chunk-size-garbage", lambda e: e.chunked(b"zz%x\r\n%b\r\n0\r\n\r\n"))
    yield say("chunk-size-negative", lambda e: e.chunked(b"-%x\r\n%b\r\n0\r\n\r\n"))
    yield say("chunk-size-huge", lambda e: e.chunked(b"ffffffffffffffff%x\r\n%b\r\n0\r\n\r\n"))
    yield say("chunk-longer-than-it-says", lambda e: e.chunked(b"%x\r\n%bmore\r\n0\r\n\r\n"))
    yield say("no-length-but-the-end", lambda e: head() + e.text(), verdict=Accepted)
    yield say("chunks-of-one-byte", _tiny_chunks, "stay", verdict=Accepted)


def _behind(start: bytes, exchange: Exchange) -> bytes:
    return start + exchange.text()


def _tiny_chunks(exchange: Exchange) -> bytes:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in exchange.text())
    return head("Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"


def no_http() -> Iterator[Breakage]:
    """Replies that are not HTTP, or another one than was asked for."""
    for name, data in (
        ("garbage", b"\0\xff\xfegarbage\r\n\r\n"),
        ("another-protocol", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("no-status", b"HTTP/1.1 2x0 OK\r\n\r\n"),
        ("status-of-one-digit", b"HTTP/1.1 2 OK\r\nContent-Length: 0\r\n\r\n"),
        ("status-999", b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"),
        ("http-7", b"HTTP/7.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ):
        yield say(name, plain(data))
    yield say("http-0.9", Exchange.text)
    yield say("http-1.0", lambda e: b"HTTP/1.0 200 OK\r\n\r\n" + e.text(), verdict=Accepted)
    yield say("no-reason", lambda e: e.good().replace(b"200 OK", b"200", 1), "stay", verdict=Accepted)
    yield say("switching-protocols", plain(head("Upgrade: h2c", "Connection: Upgrade", status="101 Go")), "hang")
    yield say("continue-noise", lambda e: 3 * head(status="100 Continue") + e.good(), "stay", verdict=Accepted)
    yield say("early-hints", lambda e: head("Link: </a>", status="103 Hints") + e.good(), "stay", verdict=Accepted)
    yield do("endless-continue", partial(pour, b"", 1000 * head(status="100 Continue"), pause_s=PATIENCE_S))


def strange_headers() -> Iterator[Breakage]:
    """Replies with strange headers."""
    for name, header in (
        ("header-of-100-kB", "X-A: " + "a" * 100_000),
        ("header-without-a-colon", "no colon"),
        ("header-with-a-zero-byte", "X-A: a\0b"),
        ("header-with-a-space-in-its-name", "X A: a"),
        ("100000-headers", "\r\n".join(f"X-{number}: a" for number in range(100_000))),
    ):
        yield say(name, methodcaller("good", header))
    for name, headers in (
        ("content-type-twice", ("Content-Type: text/html; charset=nonsense", "Content-Type: image/png")),
        ("date-twice", ("Date: yesterday", "Date: Sat, 31 Jan 2026 11:00:00 GMT")),
        ("retry-after-of-a-200", ("Retry-After: 7200", "Retry-After: -1")),
        ("cookies", ("Set-Cookie: a=b; Path=/", "Set-Cookie: " + "c" * 4000)),
        ("header-of-no-charset", ("X-A: caf\xe9\xff",)),
        ("header-of-20-kB", ("X-A: " + "a" * 20_000,)),
        ("location-of-a-200", ("Location: http://127.0.0.1:9/", "Refresh: 0; url=http://127.0.0.1:9/")),
    ):
        yield say(name, methodcaller("good", *headers), "stay", verdict=Accepted)
    yield do("endless-header", partial(pour, b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65_536))
    yield do("endless-headers", partial(pour, b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n" * 8_192))
    yield do("one-header-a-second", partial(pour, b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n", pause_s=PATIENCE_S))


def early() -> Iterator[Breakage]:
    """Answers to a request that is still on its way."""
    for name, status, verdict in (
        ("400", "400 No", PageRejected),
        ("413", "413 No", PageRejected),
        ("429", "429 No\r\nRetry-After: 1", Refused),
        ("503", "503 No\r\nRetry-After: 1", Refused),
        ("500", "500 No", Failed),
        ("401", "401 No", Stop),
        ("403", "403 No", Stop),
    ):
        answer = plain(response(b'{"statusText":"at once"}', status, "Connection: close"))
        for ending in ("close", "reset", "hang"):
            way = Way(f"early-{name}-and-{ending}", act_by(answer, ending), early=True)
            yield Breakage(way, verdict, in_runs=verdict is not Stop)
    yield Breakage(Way("early-text", act_by(Exchange.good, "hang"), early=True), in_runs=False)
    yield Breakage(Way("early-reset", act_by(plain(b""), "reset"), early=True))
    yield Breakage(Way("early-close", act_by(plain(b""), "close"), early=True))
    yield Breakage(Way("early-silence", _deafen, early=True))


async def _deafen(exchange: Exchange) -> None:
    """Never read, never answer."""
    del exchange
    await asyncio.Event().wait()


def twice() -> Iterator[Breakage]:
    """Two replies to one request: the second must not become the next page's."""
    yield say("two-replies-at-once", lambda e: e.good() + _foreign(e), "stay", verdict=Accepted)
    for name, wait_s in (("in-a-row", 0.0), ("one-later", PATIENCE_S / 10)):  # nobody can tell while another is awaited
        yield Breakage(Way(f"two-replies-{name}", partial(_speak_again, wait_s)), Accepted, in_runs=False)
    yield say("a-newline-too-much", lambda e: e.good() + b"\r\n", "stay", verdict=Accepted)
    yield say("garbage-behind-the-reply", lambda e: e.good() + b"garbage\r\n", "stay")
    yield say("an-error-and-a-reply", lambda e: response(b"{}", "500 No") + _foreign(e), "stay")


def _foreign(exchange: Exchange) -> bytes:
    return response(exchange.text(content="text of another page"))


async def _speak_again(wait_s: float, exchange: Exchange) -> None:
    await exchange.send(exchange.good())
    await asyncio.sleep(wait_s)
    await exchange.send(_foreign(exchange))

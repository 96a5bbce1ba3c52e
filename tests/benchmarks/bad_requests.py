"""Send 1,000 bad requests to the real server, with its engine and with fetching of URLs enabled.

    python -m tests.benchmarks.bad_requests

The requests: truncated images, decompression bombs, wrong types, 20 MB bodies, broken JSON, and URLs of this machine in
every spelling. Each must get the contract's error reply with a 4xx; the memory of server and workers together may never
rise by more than 300 MB; no connection may reach a canary on this machine. Exit status 1 if one of these fails.
"""

import asyncio
import base64
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import cycle, islice

import aiohttp
import orjson
from PIL import Image

from pipeline.convert.resources import resident_bytes
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.engine_server import EngineServer, start_engine_server, stop_engine_server
from tests.rendering import encode, render
from tests.server.bombs import OVERSIZED, jpeg_with_segments, noise
from tests.server.canary import Canary, listening_canary
from tests.server.processes import children
from tests.server.ssrf_urls import INSIDE, loopback_urls

MEMORY_MAX_BYTES = 300_000_000
CONCURRENCY = 8
HUGE_BYTES = 20_000_000
KEY = "the-key-of-the-bad-requests"

COUNTS = {"cut off": 250, "bomb": 150, "wrong type": 125, "broken JSON": 100, "20 MB body": 50, "wrong key": 40}
"""Requests by kind; the other `URLS` requests name a URL."""
URLS = 285


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request that the server must reject.

    Attributes:
        kind: The kind of fault.
        body: The request's body.
        status: The expected status.
        headers: Further headers.
        chunked: Whether it is sent without a Content-Length.
        key: The key in the query.
    """

    kind: str
    body: bytes = field(repr=False)
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    key: str = KEY


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run.

    Attributes:
        statuses: Number of responses by kind and status.
        texts: The different error texts by kind.
        faults: Deviations from the expected responses and bounds.
        rise_bytes: The highest rise of memory during the run.
        left_bytes: The rise of memory after the run.
        visits: Connections to the canary.
    """

    statuses: dict[str, Counter[int]]
    texts: dict[str, set[str]]
    faults: list[str]
    rise_bytes: int
    left_bytes: int
    visits: int


def bad_requests(canary_port: int) -> list[BadRequest]:
    """Return the thousand requests."""
    kinds = {
        "cut off": (BadRequest("cut off", image_body(image)) for image in cut_images()),
        "bomb": (BadRequest("bomb", image_body(image)) for image in OVERSIZED.values()),
        "wrong type": (BadRequest("wrong type", body) for body in wrong_types()),
        "broken JSON": (BadRequest("broken JSON", body) for body in broken_json()),
        "20 MB body": huge_bodies(),
        "wrong key": (
            BadRequest("wrong key", image_body(b"x"), status=401, key=key) for key in ("", "x", KEY[:-1], KEY + "x")
        ),
    }
    found = [bad for kind, made in kinds.items() for bad in islice(cycle(list(made)), COUNTS[kind])]
    urls = [*loopback_urls(canary_port), *INSIDE]
    return found + [BadRequest("URL", url_body(url)) for url in islice(cycle(urls), URLS)]


def cut_images() -> Iterator[bytes]:
    """Yield valid images with their ends cut off, and one with a gap."""
    for image_format in ("JPEG", "PNG", "GIF", "WEBP"):
        whole = noise(400, 300, image_format)
        for percent in range(1, 96, 2):
            yield whole[: len(whole) * percent // 100]
    png = noise(400, 300, "PNG")
    yield png[: len(png) // 2] + png[len(png) // 2 + 1000 :]
    yield jpeg_with_segments(1, 150)[:-300]


def wrong_types() -> Iterator[bytes]:
    """Yield requests whose image is not an image, or of a format or size that is not accepted."""
    page = Image.new("RGB", (200, 200), "white")
    for image_format in ("TIFF", "BMP", "PPM", "ICO", "PDF", "JPEG2000"):
        yield image_body(encode(page, image_format))
    for data in (
        b"%PDF-1.7",
        b"PK\3\4",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0\x18ftypheic",
        b"\x7fELF",
    ):
        yield image_body(data.ljust(1000, b"\0"))
    for size_px in ((99, 99), (4001, 100), (1, 4000)):
        yield image_body(encode(Image.new("L", size_px)))
    yield image_body(bytes(11 * 1024 * 1024))
    for url in (
        "",
        " ",
        "data:,",
        "data:image/png,x",
        "data:image/png;base64,",
        "data:image/png;base64,****",
        "é",
        "QQ",
    ):
        yield url_body(url)


def broken_json() -> Iterator[bytes]:
    """Yield bodies that are not the documented object."""
    yield from (b"", b"{", b"null", b"[]", b"1", b'"x"', b"{}", b"\xff\xfe", b"[" * 1_000_000, b'{"a":' * 100_000)
    sound = image_body(b"x")
    yield from (sound[:-1], sound + b"}", sound.replace(b"image_url", b"image"), sound.replace(b'"type"', b'"kind"'))
    for document in ("null", "1", "[]", '"x"', "{}", '{"type": "image_url"}', '{"type": "file", "image_url": "QQ=="}'):
        yield f'{{"document": {document}}}'.encode()
    for image_url in ("null", "7", "[]", '{"url": "x"}', "true"):
        yield f'{{"document": {{"type": "image_url", "image_url": {image_url}}}}}'.encode()


def huge_bodies() -> Iterator[BadRequest]:
    """Yield bodies beyond all limits, with and without Content-Length, and one that is huge once decompressed."""
    kind, zipped = "20 MB body", {"Content-Encoding": "gzip"}
    for body in (bytes(HUGE_BYTES), image_body(bytes(HUGE_BYTES * 3 // 4))):
        yield BadRequest(kind, body)
        yield BadRequest(kind, body, chunked=True)
    yield BadRequest(kind, gzip.compress(bytes(50 * HUGE_BYTES), 1), headers=zipped)


def image_body(image: bytes) -> bytes:
    """Return a valid request with these bytes as its image."""
    return url_body(f"data:image/png;base64,{base64.b64encode(image).decode()}")


def url_body(url: str) -> bytes:
    """Return a valid request with this URL."""
    return json.dumps({"document": {"type": "image_url", "image_url": url}, "filename": "scan.png"}).encode()


async def send_all(server: EngineServer, canary: Canary, requests: Iterable[BadRequest]) -> Result:
    """Send the requests, eight at a time, and measure memory."""
    before = await asyncio.to_thread(server.read, encode(render("before")))
    pids = [server.process.pid, *children(server.process.pid)]
    before_bytes = highest_bytes = sum(map(resident_bytes, pids))
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    texts: dict[str, set[str]] = defaultdict(set)
    faults = [] if before == "before" else [f"the page before reads {before!r}"]
    remaining = iter(requests)

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal highest_bytes
        for request in remaining:
            status, text = await send(session, server.base_url, request)
            statuses[request.kind][status] += 1
            texts[request.kind].add(text)
            highest_bytes = max(highest_bytes, sum(map(resident_bytes, pids)))
            if status != request.status or not text:
                faults.append(f"{request.kind}: {status} {text!r} for {request.body[:120]!r}")

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))
    left_bytes = sum(map(resident_bytes, pids)) - before_bytes
    if pids != [server.process.pid, *children(server.process.pid)]:
        faults.append("a worker was replaced")
    if (after := await asyncio.to_thread(server.read, encode(render("after")))) != "after":
        faults.append(f"the page after reads {after!r}")
    rise_bytes = highest_bytes - before_bytes
    if rise_bytes > MEMORY_MAX_BYTES:
        faults.append(f"memory rose by {rise_bytes / 1e6:.0f} MB")
    if visits := await canary.count_visits():
        faults.append(f"{visits} connections to the canary")
    return Result(dict(statuses), dict(texts), faults, rise_bytes, left_bytes, visits)


async def send(session: aiohttp.ClientSession, base_url: str, request: BadRequest) -> tuple[int, str]:
    """Return the status and the error text; "" for a response without the contract's error reply."""

    async def in_pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(request.body), 1 << 18):
            yield request.body[at : at + (1 << 18)]

    data = in_pieces() if request.chunked else BytesIO(request.body)
    headers = {"Content-Type": "application/json"} | request.headers
    url = f"{base_url}{TEXT_RECOGNITION_PATH}"
    try:
        async with session.post(url, params={"key": request.key}, data=data, headers=headers) as response:
            reply = orjson.loads(await response.read())
            return response.status, reply["statusText"] if set(reply) == {"statusText"} else ""
    except (aiohttp.ClientError, orjson.JSONDecodeError) as exc:
        return 0, type(exc).__name__


def print_table(result: Result) -> None:
    """Print a line for each kind of request."""
    print(f"{'kind':<14}{'requests':>9}  {'answers':<24}{'texts':>6}")
    for kind, statuses in result.statuses.items():
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        print(f"{kind:<14}{statuses.total():>9}  {answers:<24}{len(result.texts[kind]):>6}")
    total = sum(statuses.total() for statuses in result.statuses.values())
    rise, left = result.rise_bytes / 1e6, result.left_bytes / 1e6
    print(f"\n{total} requests; memory +{rise:.0f} MB at most, {left:+.0f} MB afterwards; ", end="")
    print(f"{result.visits} connections to the canary")
    for fault in result.faults:
        print(f"FAULT: {fault}")


async def run_bad_requests(step: int = 1) -> Result:
    """Start the real server, send every `step`-th of the thousand requests, and return the result."""
    async with listening_canary() as canary:
        server = await asyncio.to_thread(start_engine_server, KEY, "--workers", "1", "--allow-urls")
        try:
            return await send_all(server, canary, bad_requests(canary.port)[::step])
        finally:
            await asyncio.to_thread(stop_engine_server, server)


async def main() -> int:
    """Run, print, and return 1 when there was a fault."""
    result = await run_bad_requests()
    print_table(result)
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""Does a caller get its answers while others play foul? The real server and engine, attacked on loopback.

    python -m tests.benchmarks.attacks [--seconds 60] [--workers 2] [--lines 1] [--only ATTACK]

The attacks, all at once unless one is named: 600 connections that say next to nothing; a key without calls that sends
bodies of 14 MB; progressive JPEGs of 30,000 scans; URLs whose host sends a byte every 200 ms. Meanwhile a caller sends
one small page at a time, each on a connection of its own, and another one sends URLs. "In time" is an answer within
twice the median of the quiet phases before and after. Exit code 1 when less than 95 % of the pages are in time.

The attackers run in a process of their own and end with this one, or after a fixed time.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import anyio

from pipeline.config import ServeConfig
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import KeyStore
from pipeline.server.http import fetch
from pipeline.server.serve import serve, stop_at_end_of_stdin
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.rendering import encode, render
from tests.server import attackers

PUBLIC_HOST = "127.0.0.2"
"""Stands for a public host: the attacks stay on this machine."""

PADDING_BYTES = 300_000
"""After the image's end: the page is as large as a common scan, and is read as fast as a small one."""

IN_TIME = 0.95
QUIET_PAGES = 30
PAUSE_S = 0.3
"""Between an answer and the caller's next page."""

PATIENCE_S = 30.0
"""An answer that takes longer counts as missing."""

ATTACKS = ("connections", "bodies", "bombs", "urls")
"""All at once unless one is named."""

OTHER_ATTACKS = (
    "no-body",
    "slow-body",
    "many-keys",
    "no-reading",
    "half-closed",
    "http-1.0",
    "expect-continue",
    "one-address",
    "slow-headers",
    "chunked",
    "heavy-pages",
    "long-headers",
    "garbage",
    "failing-urls",
)
"""Made when they are named."""
ATTACK_MAX_S = 600.0

MANY_KEYS = tuple(f"key {number}" for number in range(30))


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: its status, 0 without an answer, and its seconds."""

    status: int
    elapsed_s: float


async def run_server(keys: Path, workers: int) -> None:
    """Serve until stdin ends; a fetch takes `PUBLIC_HOST` for a host on the internet."""
    may_connect_to = fetch.may_connect_to
    assert fetch.Fetcher.__init__.__kwdefaults__ is not None
    fetch.Fetcher.__init__.__kwdefaults__["is_allowed"] = lambda address: (
        address == PUBLIC_HOST or may_connect_to(address)
    )
    stop = anyio.Event()
    unwatch = stop_at_end_of_stdin(stop)
    config = ServeConfig(port=0, keys=keys, workers=workers, allow_urls=True)
    async with Keyring(keys) as keyring:
        await serve(config, key=None, stop=stop, ready=lambda url: print(url, flush=True), keyring=keyring)
    unwatch()


async def run_attackers(port: int, secrets: Sequence[str], only: str | None) -> None:
    """Attack until stdin ends, or for `ATTACK_MAX_S`."""
    os.nice(19)  # attackers have machines of their own
    empty, free, drips, *many = secrets
    stop = anyio.Event()
    unwatch = stop_at_end_of_stdin(stop)
    async with attackers.dripping_host(PUBLIC_HOST) as host_port:
        bomb = attackers.image_request(attackers.progressive_bomb())
        drip = attackers.url_request(f"http://{PUBLIC_HOST}:{host_port}/drip")
        attacks = {
            "connections": attackers.idle_connections(port, 600),
            "bodies": attackers.body_fillers(port, empty),
            "bombs": attackers.callers(port, free, bomb, 4),
            "urls": attackers.callers(port, drips, drip, 12),
        }
        others = other_attacks(port, free, many, f"http://{PUBLIC_HOST}:{host_port}")
        chosen = (
            others[only]() if only in others else [a for name in ATTACKS if only in {None, name} for a in attacks[name]]
        )
        async with attackers.attacking(*chosen):
            print("attacking", flush=True)
            with anyio.move_on_after(ATTACK_MAX_S):
                await stop.wait()
    unwatch()


def other_attacks(
    port: int, free: str, many: Sequence[str], host: str
) -> dict[str, Callable[[], list[attackers.Attacker]]]:
    """Return the attacks that are made when they are named."""
    silent = attackers.request_head(free, 1_000_000)
    old = b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    forwarded = "X-Forwarded-For: 198.51.100.7\r\n"
    heavy = attackers.image_request(attackers.progressive_bomb(scans=99))
    long_header = attackers.image_request(attackers.long_header())
    urls = [attackers.url_request(host + path) for path in ("/slow-head", "/silent", "/redirect", "/drip")]
    return {
        "no-body": lambda: attackers.holders(port, silent, 600),
        "slow-body": lambda: attackers.drips(port, silent, b" ", 600),
        "many-keys": lambda: [
            h for key in many for h in attackers.holders(port, attackers.request_head(key, 9000), 20)
        ],
        "no-reading": lambda: attackers.deaf(port, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50, 600),
        "half-closed": lambda: attackers.half_closed(port, silent + b"{", 300) + attackers.half_closed(port, b"", 300),
        "http-1.0": lambda: attackers.holders(port, old, 600),
        "expect-continue": lambda: attackers.holders(
            port, attackers.request_head(free, 1_000_000, "Expect: 100-continue\r\n"), 600
        ),
        "one-address": lambda: attackers.holders(port, attackers.request_head("", 1_000_000, forwarded), 1200),
        "slow-headers": lambda: attackers.drips(port, b"GET / HTTP/1.1\r\nX-Long: ", b"x", 1200),
        "chunked": lambda: attackers.drips(port, attackers.chunked_head(free), b"1\r\n \r\n", 600),
        "heavy-pages": lambda: attackers.callers(port, free, heavy, 8),
        "long-headers": lambda: attackers.callers(port, free, long_header, 8),
        "garbage": lambda: attackers.callers(port, free, b"[" + b"1," * 7_000_000, 8),
        "failing-urls": lambda: [a for body in urls for a in attackers.callers(port, free, body, 6)],
    }


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[str]:
    """Run this module in another process until the block ends; yield its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.attacks",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()


async def call(url: str, key: str, body: bytes) -> Answer:
    """Send a request on a connection of its own."""
    begun_s = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
            session.post(f"{url}{TEXT_RECOGNITION_PATH}", params={"key": key}, data=body) as response,
        ):
            await response.read()
            return Answer(response.status, time.monotonic() - begun_s)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Answer(0, time.monotonic() - begun_s)


async def keep_calling(send: Callable[[], Awaitable[Answer]], *, until: Callable[[int], bool]) -> list[Answer]:
    """Send one request at a time until this number of answers, or their time, is enough."""
    answers: list[Answer] = []
    while not until(len(answers)):
        answers.append(await send())
        await asyncio.sleep(PAUSE_S)
    return answers


def in_time(answers: Sequence[Answer], limit_s: float) -> float:
    """Return the share of the answers that are good and within the limit."""
    return sum(answer.status == 200 and answer.elapsed_s <= limit_s for answer in answers) / max(1, len(answers))


def row(name: str, answers: Sequence[Answer], limit_s: float) -> str:
    """Return a line of the table."""
    taken_s = sorted(answer.elapsed_s for answer in answers)
    statuses = ", ".join(f"{sum(a.status == s for a in answers)} x {s}" for s in sorted({a.status for a in answers}))
    return (
        f"{name:<24}{len(answers):>6}{statistics.median(taken_s):>9.3f}{taken_s[len(taken_s) * 95 // 100]:>9.3f}"
        f"{taken_s[-1]:>9.3f}{in_time(answers, limit_s):>9.1%}  {statuses}"
    )


async def measure(seconds: float, workers: int, only: str | None, lines: int) -> int:
    """Run the phases and print the table; return the exit code."""
    page = render(*["The quick brown fox jumps over it"] * lines, size_px=(800, 60 + 60 * lines))
    pages = attackers.image_request(encode(page) + bytes(PADDING_BYTES), "image/png")
    picture = encode(render("A page by URL", size_px=(400, 120)))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        with closing(KeyStore(folder / "keys.sqlite3")) as store:
            quotas = {"page": None, "url": None, "empty": 0, "free": None, "drips": None} | dict.fromkeys(MANY_KEYS)
            secret = {
                name: store.add(name=name, tier="ultra", quota=quota, now="2026-01-01T00:00:00Z")[0]
                for name, quota in quotas.items()
            }
        host_port = await stack.enter_async_context(attackers.dripping_host(PUBLIC_HOST, picture))
        url = await stack.enter_async_context(child("--serve", str(folder / "keys.sqlite3"), "--workers", str(workers)))
        by_url = attackers.url_request(f"http://{PUBLIC_HOST}:{host_port}/image")

        async def phase(until: Callable[[int], bool]) -> tuple[list[Answer], list[Answer]]:
            sends = (lambda: call(url, secret["page"], pages)), (lambda: call(url, secret["url"], by_url))
            page, named = await asyncio.gather(*(keep_calling(send, until=until) for send in sends))
            return page, named

        await phase(lambda count: count >= 5)  # warms the workers up
        quiet = await phase(lambda count: count >= QUIET_PAGES)
        port = url.rpartition(":")[2]
        options = ["--only", only] if only else []
        attacking = [secret[name] for name in ("empty", "free", "drips", *MANY_KEYS)]
        async with child(*options, "--attack", port, *attacking) as word:
            assert word == "attacking", word
            await asyncio.sleep(2.0)
            end_s = time.monotonic() + seconds
            attacked = await phase(lambda _: time.monotonic() > end_s)
            await print_attacks(url)
        await asyncio.sleep(2.0)
        after = await phase(lambda count: count >= QUIET_PAGES)
    return report([(*quiet,), (*attacked,), (*after,)])


async def print_attacks(url: str) -> None:
    """Print what the server counted so far: without a flood of connections and rejected calls there was no attack."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    counted = ("pagemill_requests_total", "pagemill_connections_evicted_total", "pagemill_calls_shed_total")
    print("\n".join(line.removeprefix("pagemill_") for line in lines if line.startswith(counted)))


def report(phases: Sequence[tuple[list[Answer], list[Answer]]]) -> int:
    """Print the table; return 1 when too few answers were in time."""
    (quiet, quiet_urls), (page, named), (after, after_urls) = phases
    limits_s = [
        2 * statistics.median(answer.elapsed_s for answer in quiet_answers)
        for quiet_answers in (quiet + after, quiet_urls + after_urls)
    ]
    print(f"{'':<24}{'calls':>6}{'median':>9}{'95 %':>9}{'slowest':>9}{'in time':>9}  statuses")
    print(row("pages, quiet", quiet + after, limits_s[0]))
    print(row("pages, attacked", page, limits_s[0]))
    print(row("URLs, quiet", quiet_urls + after_urls, limits_s[1]))
    print(row("URLs, attacked", named, limits_s[1]))
    return 0 if in_time(page, limits_s[0]) >= IN_TIME else 1


def main() -> int:
    """Run the part that the options name; without any, the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lines", type=int, default=1, help="lines of text on the caller's page")
    parser.add_argument("--only", choices=ATTACKS + OTHER_ATTACKS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--attack", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(run_server(options.serve, options.workers))
        return 0
    if options.attack:
        asyncio.run(run_attackers(int(options.attack[0]), options.attack[1:], options.only))
        return 0
    return asyncio.run(measure(options.seconds, options.workers, options.only, options.lines))


if __name__ == "__main__":
    sys.exit(main())

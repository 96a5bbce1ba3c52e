"""Other clients that recognise a folder of pages, for `tests.benchmarks.cpu`: the leanest loop and two usual scripts.

    python -m tests.benchmarks.contenders NAME SCANS URL OUT JOBS

Each does the same visible work: read every file, post it, append one JSON line per page to OUT, synced every 32 lines.
None keeps a ledger, an index, a pace, or an order of shutdown.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import orjson
import pybase64
import requests
from requests.adapters import HTTPAdapter
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.util import Retry

HEADERS = {"Content-Type": "application/json"}
SYNC_EVERY = 32
ATTEMPTS = 3


class Lines:
    """An append-only file that is synced every 32 lines and at its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unsynced = 0

    def append(self, line: bytes) -> None:
        """Write one line."""
        self._file.write(line)
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Sync the lines written so far."""
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._unsynced = 0


def prepare_lean(path: Path) -> tuple[str, bytes]:
    """Return the SHA-256 of a file and the request body, by the quickest libraries."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    head = b'{"document":{"type":"image_url","image_url":"data:image/png;base64,'
    return digest, b"".join((head, pybase64.b64encode(data), b'"},"filename":', orjson.dumps(path.name), b"}"))


async def leanest(scans: Path, url: str, lines: Lines, jobs: int) -> None:
    """Prepare each page in one thread hop; post, parse, append."""
    paths = iter(sorted(scans.iterdir()))
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=jobs), headers=HEADERS) as session:

        async def work() -> None:
            for path in paths:
                digest, body = await loop.run_in_executor(None, prepare_lean, path)
                async with session.post(f"{url}/api/text-recognition?key=k", data=BytesIO(body)) as response:
                    text = orjson.loads(await response.read())["content"]
                lines.append(orjson.dumps({"sha256": digest, "source": path.name, "text": text}) + b"\n")

        await asyncio.gather(*(work() for _ in range(jobs)))


def prepare_usual(path: Path) -> tuple[str, str]:
    """Return the SHA-256 of a file and the request body, by the standard library."""
    data = path.read_bytes()
    image = "data:image/png;base64," + base64.b64encode(data).decode()
    body = json.dumps({"document": {"type": "image_url", "image_url": image}, "filename": path.name})
    return hashlib.sha256(data).hexdigest(), body


def requests_with_threads(scans: Path, url: str, lines: Lines, jobs: int) -> None:
    """Post with requests in a thread pool, a session per thread, urllib3's Retry."""
    local, lock = threading.local(), threading.Lock()

    def session() -> requests.Session:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            retries = Retry(total=ATTEMPTS, backoff_factor=1, status_forcelist=[429, 500, 502, 503, 504])
            local.session.mount("http://", HTTPAdapter(max_retries=retries))
        found: requests.Session = local.session
        return found

    def recognise(path: Path) -> None:
        digest, body = prepare_usual(path)
        response = session().post(f"{url}/api/text-recognition", params={"key": "k"}, data=body, headers=HEADERS)
        response.raise_for_status()
        line = json.dumps({"sha256": digest, "source": path.name, "text": response.json()["content"]}) + "\n"
        with lock:
            lines.append(line.encode())

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(recognise, path) for path in sorted(scans.iterdir())]:
            done.result()


async def aiohttp_with_tenacity(scans: Path, url: str, lines: Lines, jobs: int) -> None:
    """Post with aiohttp, a task per page behind a semaphore, tenacity's retry."""
    semaphore = asyncio.Semaphore(jobs)

    async with aiohttp.ClientSession(headers=HEADERS) as session:

        @retry(
            retry=retry_if_exception_type(aiohttp.ClientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(max=20),
        )
        async def call(body: str) -> dict[str, Any]:
            async with session.post(f"{url}/api/text-recognition", params={"key": "k"}, data=body) as response:
                response.raise_for_status()
                reply: dict[str, Any] = await response.json()
                return reply

        async def recognise(path: Path) -> None:
            async with semaphore:
                digest, body = await asyncio.to_thread(prepare_usual, path)
                reply = await call(body)
                line = json.dumps({"sha256": digest, "source": path.name, "text": reply["content"]}) + "\n"
                lines.append(line.encode())

        await asyncio.gather(*(recognise(path) for path in sorted(scans.iterdir())))


CONTENDERS: dict[str, Callable[[Path, str, Lines, int], Any]] = {
    "leanest-loop": leanest,
    "requests-threads": requests_with_threads,
    "aiohttp-tenacity": aiohttp_with_tenacity,
}


def main(name: str, scans: str, url: str, out: str, jobs: str) -> None:
    """Run one contender to its end."""
    contender = CONTENDERS[name]
    with Path(out).open("ab") as file:
        lines = Lines(file)
        if asyncio.iscoroutinefunction(contender):
            asyncio.run(contender(Path(scans), url, lines, int(jobs)))
        else:
            contender(Path(scans), url, lines, int(jobs))
        lines.sync()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Two scripts that people write for this API, as the benchmark's contenders; neither keeps a ledger nor learns a pace.

    python -m tests.benchmarks.gateways.scripts threads|tenacity SCANS URL OUT JOBS

Both send every page of SCANS, try a page eight times, and append one JSON line per page that got a text to OUT.
"""

import asyncio
import base64
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import orjson
import requests
from requests.adapters import HTTPAdapter
from tenacity import RetryError, retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.util import Retry

ATTEMPTS = 8
TIMEOUT_S = 60
RETRIED = (429, 500, 502, 503)
KEY = {"key": "k"}


class RetriedStatusError(Exception):
    """A status after which a call is repeated."""


def body_of(path: Path) -> dict[str, Any]:
    """Return the request for a page."""
    image = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return {"document": {"type": "image_url", "image_url": image}, "filename": path.name}


def line_of(path: Path, reply: dict[str, Any]) -> bytes:
    """Return the line of a page that got a text."""
    return orjson.dumps({"source": path.name, "text": reply["content"]}) + b"\n"


def run_threads(pages: Sequence[Path], url: str, out: BinaryIO, jobs: int) -> None:
    """Post with requests in a thread pool, a session per thread, and urllib3's Retry, which honours Retry-After."""
    local, lock = threading.local(), threading.Lock()

    def open_session() -> requests.Session:
        session = requests.Session()
        retries = Retry(
            total=ATTEMPTS,
            backoff_factor=0.5,
            status_forcelist=RETRIED,
            allowed_methods=None,
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        session.mount("http://", HTTPAdapter(max_retries=retries, pool_maxsize=4))
        return session

    def recognise(path: Path) -> None:
        if not hasattr(local, "session"):
            local.session = open_session()
        try:
            response = local.session.post(url, params=KEY, json=body_of(path), timeout=TIMEOUT_S)
        except requests.RequestException:
            return
        if response.status_code == 200:
            with lock:
                out.write(line_of(path, response.json()))
                out.flush()

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(recognise, pages))


async def run_tenacity(pages: Sequence[Path], url: str, out: BinaryIO, jobs: int) -> None:
    """Post with aiohttp, a task per page behind a semaphore, and tenacity's retry."""
    semaphore = asyncio.Semaphore(jobs)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=jobs)) as session:

        @retry(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(0.5, 30),
            retry=retry_if_exception_type((RetriedStatusError, aiohttp.ClientError, TimeoutError)),
        )
        async def call(body: dict[str, Any]) -> dict[str, Any]:
            async with session.post(url, params=KEY, json=body) as response:
                if response.status in RETRIED:
                    raise RetriedStatusError(response.status)
                response.raise_for_status()
                reply: dict[str, Any] = await response.json()
                return reply

        async def recognise(path: Path) -> None:
            async with semaphore:
                try:
                    reply = await call(body_of(path))
                except RetryError:
                    return
                out.write(line_of(path, reply))
                out.flush()

        await asyncio.gather(*map(recognise, pages))


def main(name: str, scans: str, url: str, out: str, jobs: str) -> None:
    """Run one script to its end."""
    pages, address = sorted(Path(scans).iterdir()), f"{url}/api/text-recognition"
    with Path(out).open("ab") as file:
        if name == "threads":
            run_threads(pages, address, file, int(jobs))
        else:
            asyncio.run(run_tenacity(pages, address, file, int(jobs)))


if __name__ == "__main__":
    main(*sys.argv[1:])

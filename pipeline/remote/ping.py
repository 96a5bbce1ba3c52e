"""Sends one short message to a monitor of cron jobs, such as healthchecks.io."""

from typing import Final

import aiohttp
import anyio
from yarl import URL

from pipeline.errors import UsageError
from pipeline.remote.connections import Connector
from pipeline.remote.proxies import Proxy

_TRIES: Final = 3
_TRY_S: Final = 5.0
_PAUSE_S: Final = 0.5
_BODY_MAX_BYTES: Final = 10_000
"""healthchecks.io keeps 100 kB; the default of its own server is 10 kB."""

_NOT_TAKEN: Final = ("not found", "rate limited")
"""What healthchecks.io says beside the status 200 when it has not noted a ping; source: its "Pinging API"."""


def check_ping_url(text: str) -> str:
    """Return the URL if it can be pinged.

    Raises:
        UsageError: it is no http(s) URL; the message does not quote it, for it is a secret.
    """
    try:
        url = URL(text)
        valid = url.scheme in {"http", "https"} and bool((url.raw_host or "").encode("idna"))
    except ValueError:
        valid = False
    if not valid:
        raise UsageError("ping url: not an http(s) URL such as https://hc-ping.com/UUID")
    return text


def ping_host(url: str) -> str:
    """Return the host of a ping URL, for messages; the rest is a secret."""
    return URL(url).host or ""


async def ping(url: str, body: str, *, suffix: str = "", run_id: str | None = None, proxy: Proxy | None = None) -> None:
    """Send a ping, at most three times.

    Args:
        url: The monitor's URL for this job.
        body: Shown beside the ping; cut to 10 kB.
        suffix: "/start", "/fail", or "" for a success; it goes before the URL's query.
        run_id: A UUID that tells overlapping runs apart (parameter `rid`).
        proxy: The proxy to use; None for none.

    Raises:
        PingError: no try succeeded.
    """
    target = URL(url)
    target = target.with_path(target.raw_path.rstrip("/") + suffix, encoded=True, keep_query=True)
    if run_id is not None:
        target = target.update_query(rid=run_id)
    content = body.encode("utf-8", "replace")[:_BODY_MAX_BYTES].decode("utf-8", "ignore").encode()
    problem = ""
    async with aiohttp.ClientSession(
        connector=Connector(connections=1, keepalive_s=1.0, is_tls=target.scheme == "https"),
        timeout=aiohttp.ClientTimeout(total=_TRY_S),
        headers={"User-Agent": "pagemill"},
        proxy=None if proxy is None else proxy.url,
    ) as session:
        for number in range(_TRIES):
            await anyio.sleep(_PAUSE_S if number else 0)
            try:
                async with session.post(target, data=content, allow_redirects=False) as response:
                    answer = (await response.content.read(200)).decode("utf-8", "replace")
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
                problem = type(exc).__name__  # its text may quote the URL
                continue
            if response.status < 300 and not any(words in answer for words in _NOT_TAKEN):
                return
            problem = f"HTTP {response.status}" + (f" ({answer.strip()})" if response.status < 300 else "")
            if response.status < 500 and response.status not in {408, 429}:
                break
    raise PingError(f"{target.host} did not take the ping: {problem}")


class PingError(Exception):
    """The monitor did not take a ping."""

"""Tells a monitor of cron jobs when a run begins and how it ended, so that a run that never begins is missed, too."""

from typing import ClassVar

from pipeline.batch.observers import Ended, Observer, Start
from pipeline.observers.outcome import SUCCESSES, describe_end
from pipeline.remote.ping import ping, ping_host
from pipeline.remote.proxies import Proxy


class Pings(Observer):
    """Pings URL/start, then URL or URL/fail.

    Args:
        url: The monitor's URL for this job; a secret.
        proxy: The proxy to use; None for none.
    """

    name: ClassVar[str] = "--ping-url"

    def __init__(self, url: str, proxy: Proxy | None = None) -> None:
        self._url = url
        self._proxy = proxy
        self._run_id: str | None = None

    def __repr__(self) -> str:
        return f"<Pings {ping_host(self._url)}>"

    async def begin(self, start: Start) -> None:
        """Ping URL/start."""
        self._run_id = start.run_id
        await ping(self._url, f"{start.workspace}", suffix="/start", run_id=self._run_id, proxy=self._proxy)

    async def end(self, ended: Ended) -> None:
        """Ping URL, or URL/fail, with the last line of the run."""
        suffix = "" if ended.exit_code in SUCCESSES else "/fail"
        await ping(self._url, describe_end(ended), suffix=suffix, run_id=self._run_id, proxy=self._proxy)

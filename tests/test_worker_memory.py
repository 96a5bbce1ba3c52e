"""The table of a worker's memory, on a worker that is this process."""

import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest

from pipeline.convert.resources import resident_bytes
from pipeline.server.workers.pool import PoolOptions
from tests.benchmarks import worker_memory
from tests.benchmarks.worker_memory import memory_table, peak_bytes


class FakePool:
    """A pool of one worker that holds what it read."""

    worker_pids = (os.getpid(),)

    def __init__(self, options: PoolOptions) -> None:
        assert (options.workers, options.recycle_bytes) == (1, sys.maxsize)
        self._held = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = b""

    async def recognise(self, image: bytes) -> None:
        self._held = image * 1


async def test_the_memory_of_a_worker_is_printed_when_it_has_loaded_and_after_each_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pages() -> Iterator[tuple[str, bytes]]:
        yield from (("small page", b"x"), ("large page", b"x" * 8 * 1024**2))

    monkeypatch.setattr(worker_memory, "Pool", FakePool)
    monkeypatch.setattr(worker_memory, "large_pages", pages)
    title, *rows = [row async for row in memory_table("fast")]
    assert title.split()[-2:] == ["resident", "peak"]
    names, residents, peaks = zip(*(row.rsplit(maxsplit=2) for row in rows), strict=True)
    assert names == ("engine loaded", "small page", "large page")
    assert all(int(resident.replace(",", "")) > 0 for resident in residents)
    assert sorted(peaks, key=lambda peak: int(peak.replace(",", ""))) == list(peaks)


def test_the_peak_of_a_process_is_at_least_what_it_holds() -> None:
    assert peak_bytes(os.getpid()) >= resident_bytes(os.getpid()) > 0
    assert peak_bytes(2**22 + 1) == 0

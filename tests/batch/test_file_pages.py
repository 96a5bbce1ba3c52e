"""Pages of one file take idle slots, and never those that other files wait for."""

from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batch.file_pages import FilePages
from pipeline.batch.slots import Slot, Slots
from pipeline.shutdown import ShuttingDownError
from tests.virtual_time import on_virtual_time, run_virtual

MB = 1_000_000


class Recogniser:
    """Notes which pages are under way, and how many at most were."""

    def __init__(self, pages: int, lasts_s: float = 1.0, stops_at: int | None = None) -> None:
        self.pages = pages
        self.lasts_s = lasts_s
        self.stops_at = stops_at
        self.known = 1
        self.under_way = 0
        self.most = 0
        self.ended: list[int] = []

    def numbers(self) -> Iterator[int]:
        """Yield the numbers like a run does: the first page tells how many there are."""
        number = 1
        while number <= self.known:
            yield number
            number += 1

    async def dispatch(self, number: int, slot: Slot) -> None:
        await slot.retake()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await anyio.sleep(self.lasts_s * (1 + number % 3))
        self.known = self.pages
        self.under_way -= 1
        if self.stops_at is not None and number >= self.stops_at:
            raise ShuttingDownError
        self.ended.append(number)


async def recognise(slots: Slots, recogniser: Recogniser, size: int = 1) -> FilePages:
    """Recognise all pages of a file in a slot of its own."""
    slot = await slots.take(size)
    pages = FilePages(recogniser.numbers(), slots, 1, recogniser.dispatch)
    try:
        await pages.run(slot)
    finally:
        slot.release()
    return pages


@on_virtual_time
async def test_the_pages_of_a_lone_file_take_all_slots() -> None:
    slots, recogniser = Slots(4, MB), Recogniser(40, lasts_s=1.0)
    began_s = anyio.current_time()
    await recognise(slots, recogniser)
    assert sorted(recogniser.ended) == [*range(1, 41)]
    assert (recogniser.most, slots.taken) == (4, 0)
    assert anyio.current_time() - began_s < 25  # one after another: 80 s


@on_virtual_time
async def test_pages_leave_the_slots_to_files() -> None:
    """As many files as slots: one page of each at a time."""
    slots, recognisers = Slots(3, MB), [Recogniser(5) for _ in range(9)]
    async with anyio.create_task_group() as files:
        for recogniser in recognisers:
            files.start_soon(recognise, slots, recogniser)
        await anyio.sleep(0.5)
        assert [recogniser.under_way for recogniser in recognisers] == [1] * 3 + [0] * 6
    assert all(len(recogniser.ended) == 5 for recogniser in recognisers)
    assert [recogniser.most for recogniser in recognisers[:6]] == [1] * 6


@on_virtual_time
async def test_the_memory_of_a_file_is_given_back_once_it_is_read() -> None:
    """A file beyond the bound holds all of it for its first page only."""
    slots, recogniser = Slots(4, 30), Recogniser(9)
    await recognise(slots, recogniser, size=1000)
    assert recogniser.most == 4
    assert repr(slots) == "<Slots 0 of 4 taken, 0 bytes>"


@on_virtual_time
async def test_pages_do_not_keep_a_large_file_waiting() -> None:
    slots, recogniser, large = Slots(4, 30), Recogniser(400), Recogniser(1)
    async with anyio.create_task_group() as files:
        files.start_soon(recognise, slots, recogniser)
        await anyio.sleep(0.5)
        files.start_soon(recognise, slots, large, 9)
        await anyio.sleep(30)
        assert large.ended == [1]


@on_virtual_time
async def test_a_stop_lets_the_pages_under_way_end_and_begins_no_other() -> None:
    slots, recogniser = Slots(4, MB), Recogniser(40, stops_at=6)
    slot = await slots.take(1)
    pages = FilePages(recogniser.numbers(), slots, 1, recogniser.dispatch)
    with pytest.raises(ShuttingDownError):
        await pages.run(slot)
    assert sorted(recogniser.ended) == [1, 2, 3, 4, 5]
    assert pages.first_unfinished == 6
    assert (recogniser.under_way, slots.taken) == (0, 1)


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(1, 12), st.integers(1, 40)), max_size=8))
def test_every_page_ends_within_the_bounds(jobs: int, files: list[tuple[int, int]]) -> None:
    async def main() -> None:
        slots, recognisers = Slots(jobs, 60), [Recogniser(pages) for pages, _ in files]
        async with anyio.create_task_group() as tasks:
            for recogniser, (_, size) in zip(recognisers, files, strict=True):
                tasks.start_soon(recognise, slots, recogniser, size)
        assert all(len(recogniser.ended) == recogniser.pages for recogniser in recognisers)
        assert repr(slots) == f"<Slots 0 of {jobs} taken, 0 bytes>"

    run_virtual(main())

"""Slots bound the pages and the bytes under way, and lose neither."""

from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batch.slots import Slot, Slots
from tests.virtual_time import on_virtual_time, run_virtual

MB = 1_000_000


async def take(slots: Slots, size: int, taken: list[Slot]) -> None:
    """Take a slot and note it."""
    taken.append(await slots.take(size))


@on_virtual_time
async def test_no_more_slots_are_taken_than_there_are_jobs() -> None:
    """Of five pages two go; each that ends lets one more go."""
    slots, taken = Slots(2, 100 * MB), list[Slot]()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(take, slots, 1, taken)
        for expected in (2, 3, 4, 5):
            await anyio.wait_all_tasks_blocked()
            assert (len(taken), slots.taken) == (expected, 2)
            taken[expected - 2].release()
    assert len(taken) == 5


@on_virtual_time
async def test_pages_wait_until_their_bytes_have_room() -> None:
    """A file counts three times its size; the second of two that do not fit together waits for the first."""
    slots, taken = Slots(8, 5 * MB), list[Slot]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, slots, MB, taken)
        tasks.start_soon(take, slots, MB, taken)
        await anyio.wait_all_tasks_blocked()
        assert len(taken) == 1
        taken[0].release()
    assert len(taken) == 2


@on_virtual_time
async def test_a_page_larger_than_the_bound_goes_alone() -> None:
    """A file beyond the bound is not refused: it waits until nothing else is held, and holds all."""
    slots, taken = Slots(8, 5 * MB), list[Slot]()
    small = await slots.take(MB)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, slots, 500 * MB, taken)
        await anyio.wait_all_tasks_blocked()
        assert taken == []
        small.release()
        await anyio.wait_all_tasks_blocked()
        assert len(taken) == 1
        tasks.start_soon(take, slots, 1, taken)
        await anyio.wait_all_tasks_blocked()
        assert len(taken) == 1
        taken[0].release()


@pytest.mark.parametrize(
    ("jobs", "size"), [pytest.param(1, 1, id="waiting-for-a-slot"), pytest.param(8, MB, id="waiting-for-room")]
)
def test_a_cancelled_wait_takes_nothing(jobs: int, size: int) -> None:
    """Who gives up waiting leaves the slots as they were."""

    async def main() -> None:
        slots = Slots(jobs, 3 * MB)
        held = await slots.take(MB)
        with anyio.move_on_after(60) as scope:
            await slots.take(size)
        assert scope.cancelled_caught
        assert repr(slots) == f"<Slots 1 of {jobs} taken, {3 * MB} bytes>"
        held.release()
        assert repr(slots) == f"<Slots 0 of {jobs} taken, 0 bytes>"

    run_virtual(main())


@on_virtual_time
async def test_a_slot_may_be_released_and_taken_again() -> None:
    """Releasing and taking twice count once, so that a `finally` may release what was released early."""
    slots = Slots(1, MB)
    slot = await slots.take(1)
    await slot.retake()
    assert slots.taken == 1
    slot.release()
    slot.release()
    assert slots.taken == 0
    await slot.retake()
    assert slots.taken == 1
    assert repr(slot) == "<Slot 3 bytes, held>"
    slot.release()
    assert repr(slot) == "<Slot 3 bytes, released>"


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 80), st.floats(0, 10), st.booleans(), st.booleans()), max_size=25),
)
def test_the_bounds_hold_and_everybody_gets_a_turn(jobs: int, pages: list[tuple[int, float, bool, bool]]) -> None:
    """Whatever comes, lasts and is cancelled: never too many pages or bytes, and in the end all is free again."""

    async def main() -> None:
        slots, held, ended = Slots(jobs, 100), dict[int, int](), list[int]()

        async def work(number: int, size: int, lasts_s: float, *, early: bool) -> None:
            slot = await slots.take(size)
            try:
                for _ in range(1 + early):
                    await slot.retake()
                    held[number] = min(3 * size, 100)
                    assert len(held) <= jobs
                    assert sum(held.values()) <= 100
                    await anyio.sleep(lasts_s)
                    del held[number]
                    slot.release()
            finally:
                held.pop(number, None)
                slot.release()
            ended.append(number)

        async def work_in_scope(number: int, size: int, lasts_s: float, *, early: bool, hasty: bool) -> None:
            with anyio.move_on_after(5 if hasty else 1e6):
                await work(number, size, lasts_s, early=early)

        async with anyio.create_task_group() as tasks:
            for number, (size, lasts_s, early, hasty) in enumerate(pages):
                tasks.start_soon(partial(work_in_scope, number, size, lasts_s, early=early, hasty=hasty))
        assert {number for number, page in enumerate(pages) if not page[3]} <= set(ended)
        assert repr(slots) == f"<Slots 0 of {jobs} taken, 0 bytes>"

    run_virtual(main())

"""The queue between the event loop of a run and that of the program."""

import asyncio
import threading
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest

from pipeline.batch.events import Event, EventQueue, Pause
from pipeline.batch.observers import Start
from pipeline.records import Record
from tests.factories import RECORD

START = Start("1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b", Path("out"), datetime(2026, 11, 29, 2, tzinfo=UTC))


async def drain(queue: EventQueue) -> list[Event]:
    found = []
    while (event := await queue.get()) is not None:
        found.append(event)
    return found


async def test_a_queue_keeps_the_kinds_that_it_is_asked_for() -> None:
    queue = EventQueue(Record)
    for event in (START, RECORD, Pause(1.0)):
        queue.put(event)
    queue.end()
    assert await drain(queue) == [RECORD]


async def test_a_queue_without_a_reader_keeps_nothing_and_always_has_room() -> None:
    queue = EventQueue(capacity=1)
    queue.put(RECORD)
    await queue.wait_for_room()
    queue.end()
    assert await drain(queue) == []


async def test_pauses_in_a_row_are_one() -> None:
    """A reader that is behind for hours of refusals holds one."""
    queue = EventQueue(Record, Pause)
    for event in (Pause(1.0), Pause(2.0), RECORD, Pause(3.0), Pause(None)):
        queue.put(event)
    queue.end()
    assert await drain(queue) == [Pause(2.0), RECORD, Pause(None)]


async def test_a_full_queue_holds_up_those_who_wait_for_room_until_the_reader_takes_one() -> None:
    queue = EventQueue(Record, capacity=2)
    queue.put(RECORD)
    await queue.wait_for_room()
    queue.put(RECORD)
    waiting = [asyncio.create_task(queue.wait_for_room()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await queue.get()
    await asyncio.gather(*waiting)


async def test_closing_a_full_queue_frees_those_who_wait_for_room() -> None:
    queue = EventQueue(Record, capacity=1)
    queue.put(RECORD)
    waiting = asyncio.create_task(queue.wait_for_room())
    await asyncio.sleep(0)
    queue.close()
    await waiting
    queue.put(RECORD)
    queue.end()
    assert await drain(queue) == []


async def test_a_cancelled_reader_takes_no_event_and_leaves_nothing_behind() -> None:
    queue = EventQueue(Record)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 0)
    assert len(queue._readers) <= 1
    queue.put(RECORD)
    assert await queue.get() == RECORD


async def test_the_end_is_awaited_whether_or_not_events_are_left() -> None:
    queue = EventQueue(Record)
    queue.put(RECORD)
    waiting = asyncio.create_task(queue.wait_for_end())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.end()
    await waiting
    await queue.wait_for_end()
    assert await drain(queue) == [RECORD]


@pytest.mark.parametrize("readers", [1, 4])
async def test_events_of_another_thread_arrive_once_each_and_in_order(readers: int) -> None:
    """Writer and readers have event loops of their own; neither misses the other's call to wake."""
    queue = EventQueue(Pause, Record, capacity=3)
    number = 5000

    async def write() -> None:
        for wait_s in range(number):
            await queue.wait_for_room()
            queue.put(Pause(float(wait_s)))
            queue.put(RECORD)
        queue.end()

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    found = await asyncio.gather(*(drain(queue) for _ in range(readers)))
    writer.join()
    pauses = [[event.wait_s or 0.0 for event in part if isinstance(event, Pause)] for part in found]
    assert sorted(chain.from_iterable(pauses)) == list(range(number))
    assert all(part == sorted(part) for part in pauses)
    assert sum(isinstance(event, Record) for part in found for event in part) == number

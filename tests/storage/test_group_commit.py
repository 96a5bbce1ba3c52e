"""Group commit: items that wait are written together, in order; an error stays in its group."""

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from pipeline.storage.group_commit import GroupCommit
from tests.virtual_time import on_virtual_time


class Log:
    """A durable log whose commits wait for `may_end`, and fail for the item `poison`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = anyio.Event()
        self.may_end = anyio.Event()
        self.under_way = self.most_at_a_time = 0
        self.poison: int | None = None
        self.lost: int | None = None

    async def commit(self, items: Sequence[int]) -> list[str]:
        """Write a group once `may_end` is set; return one result per item."""
        self.begun.set()
        self.under_way += 1
        self.most_at_a_time = max(self.most_at_a_time, self.under_way)
        await self.may_end.wait()
        self.under_way -= 1
        if self.poison in items:
            raise OSError(f"cannot write {self.poison}")
        self.groups.append(list(items))
        return [f"result {item}" for item in items if item != self.lost]


async def submit(group: GroupCommit[int, str], item: int, ends: dict[int, object]) -> None:
    """Submit an item; store its result or error."""
    try:
        ends[item] = await group.submit(item)
    except (OSError, ValueError) as exc:
        ends[item] = exc


async def run_group(log: Log, count: int, *, max_items: int = 64) -> dict[int, object]:
    """Submit item 0, then the others while its commit runs; return each item's result or error."""
    group: GroupCommit[int, str] = GroupCommit(log.commit, max_items=max_items)
    ends: dict[int, object] = {}
    async with anyio.create_task_group() as tasks:
        for item in range(count):
            tasks.start_soon(submit, group, item, ends)
            await anyio.wait_all_tasks_blocked()
        assert log.begun.is_set()
        assert log.groups == []
        log.may_end.set()
    return ends


@on_virtual_time
async def test_items_submitted_during_a_commit_form_one_group_in_order() -> None:
    log = Log()
    ends = await run_group(log, 10)
    assert log.groups == [[0], list(range(1, 10))]
    assert ends == {item: f"result {item}" for item in range(10)}


@pytest.mark.parametrize("max_items", [pytest.param(value, id=f"max-{value}") for value in (1, 3, 64)])
def test_no_group_is_larger_than_the_maximum(max_items: int) -> None:
    @on_virtual_time
    async def main() -> None:
        log = Log()
        ends = await run_group(log, 20, max_items=max_items)
        assert [item for group in log.groups for item in group] == list(range(20))
        assert max(map(len, log.groups)) == min(max_items, 19)
        assert len(ends) == 20

    main()


@on_virtual_time
async def test_an_error_reaches_the_submitters_of_its_group_only() -> None:
    log = Log()
    log.poison = 6
    ends = await run_group(log, 13, max_items=4)
    failed = {item for item, end in ends.items() if isinstance(end, OSError)}
    assert failed == {5, 6, 7, 8}
    assert log.groups == [[0], [1, 2, 3, 4], [9, 10, 11, 12]]


@on_virtual_time
async def test_a_missing_result_fails_the_group_instead_of_hanging_it() -> None:
    """A commit that returns too few results must not give an item another item's result."""
    log = Log()
    log.lost = 2
    with anyio.fail_after(60):
        ends = await run_group(log, 5)
    assert ends[0] == "result 0"
    assert all(isinstance(ends[item], ValueError) for item in (1, 2, 3, 4))


@pytest.mark.parametrize("cancelled", [pytest.param(0, id="the-one-that-writes"), pytest.param(2, id="one-that-waits")])
def test_cancellation_waits_until_the_item_is_durable(cancelled: int) -> None:
    @on_virtual_time
    async def main() -> None:
        log = Log()
        group: GroupCommit[int, str] = GroupCommit(log.commit)
        ends: dict[int, object] = {}
        scopes = [anyio.CancelScope() for _ in range(4)]

        async def submit_in_scope(item: int) -> None:
            with scopes[item]:
                await submit(group, item, ends)

        async with anyio.create_task_group() as tasks:
            for item in range(4):
                tasks.start_soon(submit_in_scope, item)
                await anyio.wait_all_tasks_blocked()
            scopes[cancelled].cancel()
            await anyio.wait_all_tasks_blocked()
            assert cancelled not in ends
            log.may_end.set()
        assert log.groups == [[0], [1, 2, 3]]
        assert ends[cancelled] == f"result {cancelled}"

    main()


@pytest.mark.parametrize("times", [pytest.param(1, id="once"), pytest.param(3, id="again-and-again")])
@pytest.mark.parametrize(
    "cancelled",
    [
        pytest.param([0], id="the-one-that-writes"),
        pytest.param([2], id="one-that-waits"),
        pytest.param([1], id="the-one-that-writes-next"),
        pytest.param([0, 1, 2, 3], id="all"),
    ],
)
def test_task_cancel_waits_until_the_item_is_durable(cancelled: list[int], times: int) -> None:
    """All items are written, one group at a time; then the tasks are cancelled."""

    @on_virtual_time
    async def main() -> None:
        log = Log()
        group: GroupCommit[int, str] = GroupCommit(log.commit)
        ends: dict[int, object] = {}

        async def submit_and_go_on(item: int) -> None:
            await submit(group, item, ends)
            await anyio.sleep(1)
            ends[item] = "went on"

        tasks = []
        for item in range(4):
            tasks.append(asyncio.create_task(submit_and_go_on(item)))
            await anyio.wait_all_tasks_blocked()
        for _ in range(times):
            for item in cancelled:
                tasks[item].cancel()
            await anyio.wait_all_tasks_blocked()
        assert not any(task.done() for task in tasks)
        log.may_end.set()
        await asyncio.wait(tasks)
        assert log.groups == [[0], [1, 2, 3]]
        assert log.most_at_a_time == 1
        assert [task.cancelled() for task in tasks] == [item in cancelled for item in range(4)]
        assert ends == {item: f"result {item}" if item in cancelled else "went on" for item in range(4)}
        assert await group.submit(9) == "result 9"

    main()


@on_virtual_time
async def test_asyncio_timeout_takes_effect_after_the_write() -> None:
    log = Log()
    group: GroupCommit[int, str] = GroupCommit(log.commit)
    asyncio.get_running_loop().call_later(5, log.may_end.set)

    async def submit_and_go_on() -> None:
        async with asyncio.timeout(1):
            assert await group.submit(7) == "result 7"
            await anyio.sleep(100)

    with pytest.raises(TimeoutError):
        await submit_and_go_on()
    assert (log.groups, anyio.current_time()) == ([[7]], 5.0)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


@on_virtual_time
async def test_a_flush_that_is_cancelled_still_writes_all() -> None:
    log = Log()
    group: GroupCommit[int, str] = GroupCommit(log.commit, max_items=2)
    for item in range(5):
        group.defer(item)
    flush = asyncio.create_task(group.flush())
    await anyio.wait_all_tasks_blocked()
    flush.cancel()
    await anyio.wait_all_tasks_blocked()
    log.may_end.set()
    await asyncio.wait([flush])
    assert flush.cancelled()
    assert log.groups == [[0, 1], [2, 3], [4]]


@on_virtual_time
async def test_an_item_of_a_cancelled_task_is_still_written() -> None:
    """It may be a paid page."""
    log = Log()
    log.may_end.set()
    group: GroupCommit[int, str] = GroupCommit(log.commit)
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await group.submit(7) == "result 7"
    assert log.groups == [[7]]


@on_virtual_time
async def test_an_item_submitted_alone_is_written_at_once() -> None:
    log = Log()
    log.may_end.set()
    group: GroupCommit[int, str] = GroupCommit(log.commit)
    await group.submit(1)
    await group.submit(2)
    assert (log.groups, anyio.current_time()) == ([[1], [2]], 0.0)
    assert repr(group) == "<GroupCommit 0 waiting>"


@on_virtual_time
async def test_an_urgent_item_is_written_though_no_task_waits_for_it() -> None:
    log = Log()
    log.may_end.set()
    group: GroupCommit[int, str] = GroupCommit(log.commit)
    group.defer(1)
    await anyio.wait_all_tasks_blocked()
    assert log.groups == []
    group.defer(2, at_once=True)
    await anyio.wait_all_tasks_blocked()
    assert log.groups == [[1, 2]]


@pytest.mark.parametrize("ends_with_flush", [pytest.param(True, id="flush"), pytest.param(False, id="submit")])
@on_virtual_time
async def test_the_error_of_an_urgent_item_reaches_the_next_caller(*, ends_with_flush: bool) -> None:
    log = Log()
    log.poison = 1
    log.may_end.set()
    group: GroupCommit[int, str] = GroupCommit(log.commit)
    group.defer(1, at_once=True)
    await anyio.wait_all_tasks_blocked()
    with pytest.raises(OSError, match="cannot write 1"):
        await (group.flush() if ends_with_flush else group.submit(2))
    assert log.groups == []
    await group.flush()

"""Group commit: many waiters, one durable write.

A durable write (fdatasync, an SQLite commit) costs about a millisecond whatever it carries. While one is under way,
the next waiters gather; whoever gets the turn next writes for all of them. There is no timer: an idle system writes
at once, a busy one in large groups. Precedent: group commit in PostgreSQL and MySQL.

A group is written in a task of its own, since a thread that writes cannot be called off: whoever is cancelled
meanwhile, by anyio or by asyncio, waits for its end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.results) or self.error is not None


class GroupCommit(Generic[Item, Result]):
    """Collects items while a commit runs and commits them together, in the order of their submission.

    Args:
        commit: Writes a group durably and returns one result an item, in their order; what it raises is raised to
            every member of the group.
        max_items: The largest group.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, max_items: int = 64) -> None:
        self._commit = commit
        self._max_items = max_items
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._writing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self._waiting)} waiting>"

    async def submit(self, item: Item) -> Result:
        """Return the item's result once its group is durable; cancellation waits for that."""
        entry: _Entry[Item, Result] = _Entry(item)
        self._waiting.append(entry)
        while not entry.done:
            await _wait_through(self._write())
        if entry.error is not None:
            raise entry.error
        return entry.results[0]

    def defer(self, item: Item) -> None:
        """Let the item go with the next group; nobody waits for it, so `flush` must follow."""
        self._waiting.append(_Entry(item))

    async def flush(self) -> None:
        """Return once nothing waits any more; cancellation waits for that.

        Raises:
            BaseException: the first error that a commit raised meanwhile.
        """
        if self._is_writing():
            await _wait_through(self._write())
        while self._waiting:
            first = self._waiting[0]
            while not first.done:
                await _wait_through(self._write())
            if first.error is not None:
                raise first.error

    def _is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _write(self) -> asyncio.Task[None]:
        """Return the task that writes a group: the one under way, or a new one with all that waits."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._commit_group())
        return self._writing

    async def _commit_group(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
        try:
            results = await self._commit([entry.item for entry in group])
            for entry, result in zip(group, results, strict=True):
                entry.results.append(result)
        except BaseException as exc:  # noqa: BLE001 - raised again to every member of the group
            for entry in group:
                entry.error = exc


async def _wait_through(task: asyncio.Task[None]) -> None:
    """Wait for the task's end; a cancellation that comes meanwhile takes effect at the caller's next wait.

    A shield of anyio's holds off anyio's cancellation only, not `asyncio.wait_for` nor `Task.cancel`.
    """
    reasons: list[asyncio.CancelledError] = []
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:
                reasons.append(exc)
    caller = asyncio.current_task()
    if reasons and caller is not None:
        caller.uncancel()  # one request is passed on, not counted twice
        caller.cancel(*reasons[0].args)

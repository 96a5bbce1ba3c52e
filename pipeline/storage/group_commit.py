"""Group commit: many waiters, one durable write.

A durable write (fdatasync, an SQLite commit) costs about a millisecond whatever it carries. While one is under way,
the next waiters gather; its end begins the next, for all of them. There is no timer: an idle system writes at once, a
busy one in large groups. Precedent: group commit in PostgreSQL and MySQL.

A thread that writes cannot be called off: whoever is cancelled meanwhile, by anyio or by asyncio, waits for its end.
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
class _Submission(Generic[Item, Result]):
    item: Item
    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None
    waiters: list["asyncio.Future[None]"] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return bool(self.results) or self.error is not None

    def wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():  # it is when its task was cancelled
                waiter.set_result(None)


class GroupCommit(Generic[Item, Result]):
    """Collects items while a commit runs and commits them together, in the order of their submission.

    Args:
        commit: Begins to write a group durably; what it returns brings one result an item, in their order, or what is
            raised to every member of the group. A future is the quickest: each task costs turns of the event loop.
        max_items: The largest group.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, max_items: int = 64) -> None:
        self._commit = commit
        self._max_items = max_items
        self._waiting: deque[_Submission[Item, Result]] = deque()
        self._under_way: Sequence[_Submission[Item, Result]] = ()

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self._waiting)} waiting>"

    async def submit(self, item: Item) -> Result:
        """Return the item's result once its group is durable; cancellation waits for that."""
        submission: _Submission[Item, Result] = _Submission(item)
        self._waiting.append(submission)
        await self._wait_for(submission)
        if submission.error is not None:
            raise submission.error
        return submission.results[0]

    def defer(self, item: Item) -> None:
        """Let the item go with the next group; nobody waits for it, so `flush` must follow."""
        self._waiting.append(_Submission(item))

    async def flush(self) -> None:
        """Return once nothing waits any more; cancellation waits for that.

        Raises:
            BaseException: the first error that a commit raised meanwhile.
        """
        for submission in (*self._under_way, *self._waiting):
            await self._wait_for(submission)
            if submission.error is not None:
                raise submission.error

    async def _wait_for(self, submission: _Submission[Item, Result]) -> None:
        """Wait until the entry is done; a cancellation that comes meanwhile takes effect at the caller's next wait.

        A shield of anyio's holds off anyio's cancellation only, not `asyncio.wait_for` nor `Task.cancel`.
        """
        reasons: list[asyncio.CancelledError] = []
        loop = asyncio.get_running_loop()
        with anyio.CancelScope(shield=True):
            while not submission.done:
                waiter = loop.create_future()
                submission.waiters.append(waiter)
                self._begin()
                try:
                    await waiter
                except asyncio.CancelledError as exc:
                    reasons.append(exc)
        caller = asyncio.current_task()
        if reasons and caller is not None:
            caller.uncancel()  # one request is passed on, not counted twice
            caller.cancel(*reasons[0].args)

    def _begin(self) -> None:
        """Write the next group, unless one is under way or nobody waits; what nobody waits for goes with the others."""
        if self._under_way or not any(submission.waiters for submission in self._waiting):
            return
        self._under_way = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
        writing: asyncio.Future[Sequence[Result]]
        try:
            writing = asyncio.ensure_future(self._commit([submission.item for submission in self._under_way]))
        except BaseException as exc:  # noqa: BLE001 - or the others of the group would wait for ever
            writing = asyncio.get_running_loop().create_future()
            writing.set_exception(exc)
        writing.add_done_callback(self._end)

    def _end(self, written: "asyncio.Future[Sequence[Result]]") -> None:
        """Tell the group how it ended, and begin the next."""
        group, self._under_way = self._under_way, ()
        try:
            for submission, result in zip(group, written.result(), strict=True):
                submission.results.append(result)
        except BaseException as exc:  # noqa: BLE001 - raised again to every member of the group
            for submission in group:
                submission.error = exc
        self._begin()
        for submission in group:
            submission.wake()

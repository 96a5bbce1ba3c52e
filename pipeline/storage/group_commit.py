"""Group commit: one durable write for all items that wait.

A durable write (fdatasync, an SQLite commit) takes about a millisecond whatever its size. Items submitted during a
write form the next group, which is written when this one ends. There is no timer: an idle system writes at once, a
busy one in large groups. Precedent: group commit in PostgreSQL and MySQL.

A thread that writes cannot be cancelled: a submitter that anyio or asyncio cancels waits for the end of the write.
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
    is_urgent: bool = False

    @property
    def done(self) -> bool:
        return bool(self.results) or self.error is not None

    def wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():  # a waiter of a cancelled task is done
                waiter.set_result(None)


class GroupCommit(Generic[Item, Result]):
    """Collects items while a commit runs, and commits them together in the order of their submission.

    Args:
        commit: Starts the durable write of a group; the awaitable returns one result per item, in their order, or
            raises an error, which every submitter of the group gets. A future is faster than a coroutine, which
            needs a task and further turns of the event loop.
        max_items: Maximum number of items per group.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, max_items: int = 64) -> None:
        self._commit = commit
        self._max_items = max_items
        self._waiting: deque[_Submission[Item, Result]] = deque()
        self._committing: Sequence[_Submission[Item, Result]] = ()
        self._unseen: BaseException | None = None
        """The error of a commit that no submitter waited for."""

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self._waiting)} waiting>"

    async def submit(self, item: Item) -> Result:
        """Return the item's result once its group is durable; cancellation waits for that.

        Raises:
            BaseException: the error of the commit, or of an earlier one that no submitter waited for.
        """
        self._raise_unseen()
        submission: _Submission[Item, Result] = _Submission(item)
        self._waiting.append(submission)
        await self._wait_for(submission)
        if submission.error is not None:
            raise submission.error
        return submission.results[0]

    def defer(self, item: Item, *, at_once: bool = False) -> None:
        """Add the item to the next group without waiting for it; `flush` must follow.

        Args:
            item: What to commit.
            at_once: True commits it as soon as no commit is under way; False when another item is waited for.
        """
        self._waiting.append(_Submission(item, is_urgent=at_once))
        self._start_commit()

    async def flush(self) -> None:
        """Return once all items submitted so far are durable; cancellation waits for that.

        Raises:
            BaseException: the first error of a commit.
        """
        for submission in (*self._committing, *self._waiting):
            await self._wait_for(submission)
            if submission.error is not None:
                raise submission.error
        self._raise_unseen()

    def _raise_unseen(self) -> None:
        error, self._unseen = self._unseen, None
        if error is not None:
            raise error

    async def _wait_for(self, submission: _Submission[Item, Result]) -> None:
        """Wait until the submission is done; a cancellation meanwhile takes effect at the caller's next await.

        anyio's shield defers only anyio's cancellation, not that of `asyncio.wait_for` and `Task.cancel`.
        """
        cancellations: list[asyncio.CancelledError] = []
        loop = asyncio.get_running_loop()
        with anyio.CancelScope(shield=True):
            while not submission.done:
                waiter = loop.create_future()
                submission.waiters.append(waiter)
                self._start_commit()
                try:
                    await waiter
                except asyncio.CancelledError as exc:
                    cancellations.append(exc)
        caller = asyncio.current_task()
        if cancellations and caller is not None:
            caller.uncancel()  # the request below replaces the one that was caught
            caller.cancel(*cancellations[0].args)

    def _start_commit(self) -> None:
        """Start the next commit, with deferred items, unless one is running, or no task waits and no item is urgent."""
        if self._committing or not any(submission.waiters or submission.is_urgent for submission in self._waiting):
            return
        self._committing = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
        writing: asyncio.Future[Sequence[Result]]
        try:
            writing = asyncio.ensure_future(self._commit([submission.item for submission in self._committing]))
        except BaseException as exc:  # noqa: BLE001 - the group's other submitters must get the error, or they would wait for ever
            writing = asyncio.get_running_loop().create_future()
            writing.set_exception(exc)
        writing.add_done_callback(self._finish_commit)

    def _finish_commit(self, written: "asyncio.Future[Sequence[Result]]") -> None:
        """Give the group its results or its error, and start the next commit."""
        group, self._committing = self._committing, ()
        try:
            for submission, result in zip(group, written.result(), strict=True):
                submission.results.append(result)
        except BaseException as exc:  # noqa: BLE001 - raised again to every submitter of the group
            for submission in group:
                submission.error = exc
            if not any(submission.waiters for submission in group):
                self._unseen = exc
        self._start_commit()
        for submission in group:
            submission.wake()

"""How a run ends early: what is not sent is called off, what is on the wire lands."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import anyio
import pytest

from pipeline.errors import (
    DurationReachedError,
    InterruptedRunError,
    KeyRejectedError,
    LedgerError,
    MaxFailuresError,
    QuotaExhaustedError,
    StopError,
    TemporaryError,
)
from pipeline.shutdown import Shutdown, ShuttingDownError
from tests.virtual_time import on_virtual_time, run_virtual

Guard = Callable[[Shutdown], AbstractContextManager[None]]

BOTH = pytest.mark.parametrize(
    "guard",
    [
        pytest.param(lambda shutdown: shutdown.cancels_unsent(), id="unreserved"),
        pytest.param(lambda shutdown: shutdown.cancels_unsent(reserved=True), id="reserved"),
    ],
)

QUOTA = QuotaExhaustedError("used up")


@BOTH
def test_what_is_not_sent_is_called_off(guard: Guard) -> None:
    """Whoever waits before a call gets a DrainedError at once when the run ends."""

    async def main() -> None:
        shutdown, ends = Shutdown(), list[tuple[str, float]]()

        async def wait() -> None:
            try:
                with guard(shutdown):
                    await anyio.sleep(3600)
            except ShuttingDownError:
                ends.append(("drained", anyio.current_time()))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.sleep(5)
            shutdown.request(DurationReachedError("over"))
        assert ends == [("drained", 5.0)] * 3

    run_virtual(main())


@BOTH
def test_work_that_ends_in_the_moment_of_the_request_is_not_followed_by_a_call(guard: Guard) -> None:
    """Work that finishes although the run was just ended raises, too: no call may follow it."""

    async def main() -> None:
        shutdown = Shutdown()
        with pytest.raises(ShuttingDownError), guard(shutdown):
            shutdown.request(DurationReachedError("over"))

    run_virtual(main())


@BOTH
def test_nothing_begins_once_the_run_is_ending(guard: Guard) -> None:
    """A page that comes to the guard after the request does not even begin to wait."""

    async def main() -> None:
        shutdown, begun = Shutdown(), list[str]()
        shutdown.request(InterruptedRunError("SIGINT", exit_code=130))
        with pytest.raises(ShuttingDownError), guard(shutdown):
            begun.append("begun")
        assert begun == []

    run_virtual(main())


@on_virtual_time
async def test_a_used_up_budget_spares_the_pages_that_have_their_reservation() -> None:
    """The end of the quota calls off who has no reservation, and lets the others wait for their turn and go."""
    shutdown, ends = Shutdown(), dict[str, str]()

    async def wait(name: str, guard: Guard) -> None:
        try:
            with guard(shutdown):
                await anyio.sleep(10)
            ends[name] = "sent"
        except ShuttingDownError:
            ends[name] = "drained"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "unreserved", lambda shutdown: shutdown.cancels_unsent())
        tasks.start_soon(wait, "reserved", lambda shutdown: shutdown.cancels_unsent(reserved=True))
        await anyio.wait_all_tasks_blocked()
        shutdown.request(QUOTA, spare_reserved=True)
        tasks.start_soon(wait, "reserved in that moment", lambda shutdown: shutdown.cancels_unsent(reserved=True))
    assert ends == {"unreserved": "drained", "reserved": "sent", "reserved in that moment": "sent"}
    with pytest.raises(ShuttingDownError):
        shutdown.check()


@pytest.mark.parametrize("order", [pytest.param(1, id="quota-first"), pytest.param(-1, id="signal-first")])
def test_a_signal_calls_off_what_the_quota_spared(order: int) -> None:
    """Two reasons together are as strict as the stricter one, in either order."""

    async def main() -> None:
        shutdown = Shutdown()
        requests: list[tuple[StopError, bool]] = [(QUOTA, True), (InterruptedRunError("SIGINT", exit_code=130), False)]
        for reason, spare in requests[::order]:
            shutdown.request(reason, spare_reserved=spare)
        with pytest.raises(ShuttingDownError), shutdown.cancels_unsent(reserved=True):
            await anyio.sleep(3600)
        assert anyio.current_time() == 0

    run_virtual(main())


@on_virtual_time
async def test_without_a_request_the_guards_change_nothing() -> None:
    """Negative control: while the run goes on, work passes the guards with its result, and errors pass as they are."""
    shutdown = Shutdown()
    shutdown.check()
    with shutdown.cancels_unsent(), shutdown.cancels_unsent(reserved=True):
        await anyio.sleep(1)
    with pytest.raises(TemporaryError), shutdown.cancels_unsent():
        raise TemporaryError("gone")
    assert (shutdown.reason, shutdown.requested.is_set()) == (None, False)
    assert repr(shutdown) == "<Shutdown [], 0 unreserved, 0 reserved>"


@on_virtual_time
async def test_a_cancellation_from_outside_is_no_drain() -> None:
    """Cancelling the task that waits is not mistaken for the end of the run."""
    shutdown = Shutdown()
    with anyio.move_on_after(3) as scope, shutdown.cancels_unsent():
        await anyio.sleep(3600)
    assert scope.cancelled_caught
    assert anyio.current_time() == 3


@pytest.mark.parametrize(
    ("reasons", "exit_code"),
    [
        pytest.param([QUOTA, KeyRejectedError("")], 7, id="key-before-quota"),
        pytest.param([TemporaryError(""), QUOTA], 8, id="quota-before-temporary"),
        pytest.param([DurationReachedError(""), TemporaryError("")], 10, id="duration-before-temporary"),
        pytest.param([QUOTA, MaxFailuresError("")], 12, id="failures-before-quota"),
        pytest.param([KeyRejectedError(""), InterruptedRunError("", exit_code=143)], 143, id="signal-before-key"),
        pytest.param([QUOTA, LedgerError("")], 1, id="fault-before-quota"),
    ],
)
def test_the_reason_that_comes_first_in_the_table_wins(reasons: list[StopError], exit_code: int) -> None:
    """Of several reasons the documented precedence decides, in either order of their coming."""

    async def main() -> None:
        for order in (reasons, reasons[::-1]):
            shutdown = Shutdown()
            for reason in order:
                shutdown.request(reason)
            assert shutdown.reason is not None
            assert shutdown.reason.exit_code == exit_code

    run_virtual(main())


@on_virtual_time
async def test_of_two_reasons_of_one_rank_the_first_is_told() -> None:
    """The message is that of the first cause."""
    shutdown, first = Shutdown(), KeyRejectedError("first")
    shutdown.request(first)
    shutdown.request(KeyRejectedError("second"))
    assert shutdown.reason is first
    assert shutdown.requested.is_set()

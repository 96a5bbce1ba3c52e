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
from pipeline.shutdown import Drain, DrainedError
from tests.virtual_time import on_virtual_time, run_virtual

Guard = Callable[[Drain], AbstractContextManager[None]]

BOTH = pytest.mark.parametrize(
    "guard", [pytest.param(Drain.unreserved, id="unreserved"), pytest.param(Drain.reserved, id="reserved")]
)

QUOTA = QuotaExhaustedError("used up")


@BOTH
def test_what_is_not_sent_is_called_off(guard: Guard) -> None:
    """Whoever waits before a call gets a DrainedError at once when the run ends."""

    async def main() -> None:
        drain, ends = Drain(), list[tuple[str, float]]()

        async def wait() -> None:
            try:
                with guard(drain):
                    await anyio.sleep(3600)
            except DrainedError:
                ends.append(("drained", anyio.current_time()))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.sleep(5)
            drain.request(DurationReachedError("over"))
        assert ends == [("drained", 5.0)] * 3

    run_virtual(main())


@BOTH
def test_work_that_ends_in_the_moment_of_the_request_is_not_followed_by_a_call(guard: Guard) -> None:
    """Work that finishes although the run was just ended raises, too: no call may follow it."""

    async def main() -> None:
        drain = Drain()
        with pytest.raises(DrainedError), guard(drain):
            drain.request(DurationReachedError("over"))

    run_virtual(main())


@BOTH
def test_nothing_begins_once_the_run_is_ending(guard: Guard) -> None:
    """A page that comes to the guard after the request does not even begin to wait."""

    async def main() -> None:
        drain, begun = Drain(), list[str]()
        drain.request(InterruptedRunError("SIGINT", exit_code=130))
        with pytest.raises(DrainedError), guard(drain):
            begun.append("begun")
        assert begun == []

    run_virtual(main())


@on_virtual_time
async def test_a_used_up_budget_spares_the_pages_that_have_their_reservation() -> None:
    """The end of the quota calls off who has no reservation, and lets the others wait for their turn and go."""
    drain, ends = Drain(), dict[str, str]()

    async def wait(name: str, guard: Guard) -> None:
        try:
            with guard(drain):
                await anyio.sleep(10)
            ends[name] = "sent"
        except DrainedError:
            ends[name] = "drained"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "unreserved", Drain.unreserved)
        tasks.start_soon(wait, "reserved", Drain.reserved)
        await anyio.wait_all_tasks_blocked()
        drain.request(QUOTA, spare_reserved=True)
        tasks.start_soon(wait, "reserved in that moment", Drain.reserved)
    assert ends == {"unreserved": "drained", "reserved": "sent", "reserved in that moment": "sent"}
    with pytest.raises(DrainedError):
        drain.check()


@pytest.mark.parametrize("order", [pytest.param(1, id="quota-first"), pytest.param(-1, id="signal-first")])
def test_a_signal_calls_off_what_the_quota_spared(order: int) -> None:
    """Two reasons together are as strict as the stricter one, in either order."""

    async def main() -> None:
        drain = Drain()
        requests: list[tuple[StopError, bool]] = [(QUOTA, True), (InterruptedRunError("SIGINT", exit_code=130), False)]
        for reason, spare in requests[::order]:
            drain.request(reason, spare_reserved=spare)
        with pytest.raises(DrainedError), drain.reserved():
            await anyio.sleep(3600)
        assert anyio.current_time() == 0

    run_virtual(main())


@on_virtual_time
async def test_without_a_request_the_guards_change_nothing() -> None:
    """Negative control: while the run goes on, work passes the guards with its result, and errors pass as they are."""
    drain = Drain()
    drain.check()
    with drain.unreserved(), drain.reserved():
        await anyio.sleep(1)
    with pytest.raises(TemporaryError), drain.unreserved():
        raise TemporaryError("gone")
    assert (drain.reason, drain.requested.is_set()) == (None, False)
    assert repr(drain) == "<Drain [], 0 unreserved, 0 reserved>"


@on_virtual_time
async def test_a_cancellation_from_outside_is_no_drain() -> None:
    """Cancelling the task that waits is not mistaken for the end of the run."""
    drain = Drain()
    with anyio.move_on_after(3) as scope, drain.unreserved():
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
            drain = Drain()
            for reason in order:
                drain.request(reason)
            assert drain.reason is not None
            assert drain.reason.exit_code == exit_code

    run_virtual(main())


@on_virtual_time
async def test_of_two_reasons_of_one_rank_the_first_is_told() -> None:
    """The message is that of the first cause."""
    drain, first = Drain(), KeyRejectedError("first")
    drain.request(first)
    drain.request(KeyRejectedError("second"))
    assert drain.reason is first
    assert drain.requested.is_set()

"""How a run ends early: calls that are not sent are cancelled, and calls in flight end."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import anyio
import pytest

from pipeline.errors import (
    InterruptedRunError,
    KeyRejectedError,
    LedgerError,
    MaxFailuresError,
    PlannedStopError,
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
def test_a_request_cancels_all_work_before_the_call(guard: Guard) -> None:
    async def main() -> None:
        shutdown, ends = Shutdown(), list[tuple[str, float]]()

        async def wait() -> None:
            try:
                with guard(shutdown):
                    await anyio.sleep(3600)
            except ShuttingDownError:
                ends.append(("cancelled", anyio.current_time()))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.sleep(5)
            shutdown.request(PlannedStopError("over"))
        assert ends == [("cancelled", 5.0)] * 3

    run_virtual(main())


@BOTH
def test_work_that_ends_at_the_moment_of_the_request_raises_too(guard: Guard) -> None:
    """Otherwise a call would follow it."""

    async def main() -> None:
        shutdown = Shutdown()
        with pytest.raises(ShuttingDownError), guard(shutdown):
            shutdown.request(PlannedStopError("over"))

    run_virtual(main())


@BOTH
def test_no_work_begins_after_the_request(guard: Guard) -> None:
    async def main() -> None:
        shutdown, begun = Shutdown(), list[str]()
        shutdown.request(InterruptedRunError("SIGINT", exit_code=130))
        with pytest.raises(ShuttingDownError), guard(shutdown):
            begun.append("begun")
        assert begun == []

    run_virtual(main())


@on_virtual_time
async def test_a_used_up_budget_cancels_only_pages_without_a_reservation() -> None:
    shutdown, ends = Shutdown(), dict[str, str]()

    async def wait(name: str, guard: Guard) -> None:
        try:
            with guard(shutdown):
                await anyio.sleep(10)
            ends[name] = "sent"
        except ShuttingDownError:
            ends[name] = "cancelled"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "unreserved", lambda shutdown: shutdown.cancels_unsent())
        tasks.start_soon(wait, "reserved", lambda shutdown: shutdown.cancels_unsent(reserved=True))
        await anyio.wait_all_tasks_blocked()
        shutdown.request(QUOTA, spare_reserved=True)
        tasks.start_soon(wait, "reserved in that moment", lambda shutdown: shutdown.cancels_unsent(reserved=True))
    assert ends == {"unreserved": "cancelled", "reserved": "sent", "reserved in that moment": "sent"}
    with pytest.raises(ShuttingDownError):
        shutdown.check()


@pytest.mark.parametrize("order", [pytest.param(1, id="quota-first"), pytest.param(-1, id="signal-first")])
def test_a_signal_also_cancels_the_pages_that_the_quota_spared(order: int) -> None:
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
    """Negative control: before a request, work completes inside the guards and its errors pass through."""
    shutdown = Shutdown()
    shutdown.check()
    with shutdown.cancels_unsent(), shutdown.cancels_unsent(reserved=True):
        await anyio.sleep(1)
    with pytest.raises(TemporaryError), shutdown.cancels_unsent():
        raise TemporaryError("gone")
    assert (shutdown.reason, shutdown.requested.is_set()) == (None, False)
    assert repr(shutdown) == "<Shutdown [], 0 unreserved, 0 reserved>"


@on_virtual_time
async def test_a_cancellation_from_outside_is_no_shutdown() -> None:
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
        pytest.param([PlannedStopError(""), TemporaryError("")], 5, id="temporary-before-duration"),
        pytest.param([PlannedStopError(""), QUOTA], 8, id="quota-before-duration"),
        pytest.param(
            [InterruptedRunError("", exit_code=129), InterruptedRunError("", exit_code=143)], 129, id="hangup"
        ),
        pytest.param([QUOTA, MaxFailuresError("")], 12, id="failures-before-quota"),
        pytest.param([KeyRejectedError(""), InterruptedRunError("", exit_code=143)], 143, id="signal-before-key"),
        pytest.param([QUOTA, LedgerError("")], 1, id="fault-before-quota"),
    ],
)
def test_the_reason_of_higher_precedence_wins_in_either_order(reasons: list[StopError], exit_code: int) -> None:
    async def main() -> None:
        for order in (reasons, reasons[::-1]):
            shutdown = Shutdown()
            for reason in order:
                shutdown.request(reason)
            assert shutdown.reason is not None
            assert shutdown.reason.exit_code == exit_code

    run_virtual(main())


@on_virtual_time
async def test_of_two_reasons_of_equal_precedence_the_first_wins() -> None:
    shutdown, first = Shutdown(), KeyRejectedError("first")
    shutdown.request(first)
    shutdown.request(KeyRejectedError("second"))
    assert shutdown.reason is first
    assert shutdown.requested.is_set()

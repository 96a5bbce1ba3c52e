"""The gate on virtual time: when calls pass, and which call waits for which. The rate is tested with the pace."""

from collections.abc import Callable
from itertools import pairwise

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import QuotaExhaustedError, StopError, TemporaryError
from pipeline.remote.allowance import Allowance
from pipeline.remote.gate import Gate
from pipeline.remote.learned import Learned
from pipeline.remote.pace import Token
from tests.virtual_time import on_virtual_time, run_virtual

Passes = list[tuple[str, float, Token]]


async def pass_gate(gate: Gate, passes: Passes, name: str = "") -> None:
    """Wait for a turn and record when it came."""
    token = await gate.wait_turn()
    passes.append((name, anyio.current_time(), token))


async def open_gate(*, rate_per_s: float | None = None, patience_s: float = 600.0) -> Gate:
    """Return a gate whose first call has been answered."""
    gate = Gate(rate_per_s=rate_per_s, patience_s=patience_s)
    gate.report_accepted(await gate.wait_turn())
    return gate


async def pass_and_be_refused(gate: Gate, wait_s: float | None) -> None:
    """Let one call pass and report it as refused."""
    gate.report_refused(await gate.wait_turn(), wait_s)


async def start_waiting(tasks: TaskGroup, gate: Gate, passes: Passes, *names: str) -> None:
    """Start calls that wait at the gate, and return when each has passed or is blocked."""
    for name in names:
        tasks.start_soon(pass_gate, gate, passes, name)
    await anyio.wait_all_tasks_blocked()


@on_virtual_time
async def test_the_first_call_goes_alone_until_it_is_answered() -> None:
    gate, passes = Gate(), Passes()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "first", "second", "third")
        await anyio.sleep(30)
        assert [(name, at_s) for name, at_s, _ in passes] == [("first", 0.0)]
        gate.report_accepted(passes[0][2])
    assert [name for name, _, _ in passes] == ["first", "second", "third"]
    assert all(at_s >= 30 for _, at_s, _ in passes[1:])


@pytest.mark.parametrize(
    ("report", "second_round"),
    [
        pytest.param(lambda gate, token: gate.report_failed(token, "HTTP 500"), 1, id="failed-one-passes"),
        pytest.param(lambda gate, token: gate.report_refused(token, 0.5), 1, id="refused-one-passes"),
        pytest.param(lambda gate, token: gate.report_ended(token, answered=False), 1, id="foreign-reply-one-passes"),
        pytest.param(lambda gate, token: gate.report_ended(token, answered=True), 2, id="page-rejected-all-pass"),
    ],
)
def test_the_first_calls_end_decides_whether_all_others_pass_or_one(
    report: Callable[[Gate, Token], None], second_round: int
) -> None:

    async def main() -> None:
        gate, passes = Gate(), Passes()
        async with anyio.create_task_group() as tasks:
            await start_waiting(tasks, gate, passes, "a", "b", "c")
            report(gate, passes[0][2])
            await anyio.sleep(5)
            assert len(passes) == 1 + second_round
            gate.report_accepted(passes[-1][2])
        assert len(passes) == 3

    run_virtual(main())


@on_virtual_time
async def test_an_outage_is_probed_by_one_call_at_a_time_with_growing_pauses_until_the_run_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, passes = await open_gate(), Passes()
    first = [await gate.wait_turn() for _ in range(4)]
    for token in first:
        gate.report_failed(token, "HTTP 502")
    for _ in range(10):
        await pass_gate(gate, passes)
        gate.report_failed(passes[-1][2], "HTTP 502")
    await pass_gate(gate, passes)
    with pytest.raises(TemporaryError, match=r"failed every call for .* s, the last with: HTTP 502"):
        gate.report_failed(passes[-1][2], "HTTP 502")
    gaps_s = [later - earlier for (_, earlier, _), (_, later, _) in pairwise(passes)]
    assert gaps_s[3:] == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0], abs=0.1)
    assert [record.getMessage() for record in caplog.records] == [
        "the API fails (HTTP 502): one call at a time until one succeeds"
    ]


@on_virtual_time
async def test_a_success_after_an_outage_lets_all_calls_pass_again() -> None:
    gate, passes = await open_gate(), Passes()
    for _ in range(6):
        gate.report_failed(await gate.wait_turn(), "HTTP 502")
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, *"abcd")
        await anyio.sleep(100)
        assert len(passes) == 1
        assert gate.statistics().paused_s == 0
        gate.report_accepted(passes[0][2])
    assert len(passes) == 4


@on_virtual_time
async def test_the_statistics_show_the_pause_before_a_probe() -> None:
    gate = await open_gate()
    for _ in range(6):
        gate.report_failed(await gate.wait_turn(), "HTTP 502")
    assert gate.statistics().paused_s == pytest.approx(2.0, abs=0.1)


@on_virtual_time
async def test_a_cancelled_call_leaves_its_turn_to_the_next() -> None:
    gate, passes = await open_gate(), Passes()
    await pass_and_be_refused(gate, 100.0)
    with anyio.move_on_after(10):
        await gate.wait_turn()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "next")
    assert [name for name, _, _ in passes] == ["next"]
    assert passes[0][1] >= 100


@pytest.mark.parametrize("wait_s", [0.25, 1.0, 59.0, 3600.0])
def test_a_refusal_pauses_all_calls_for_its_retry_after(wait_s: float) -> None:
    """No call passes inside a Retry-After, and one passes within 0.2 s of its end."""

    async def main() -> None:
        gate, passes = await open_gate(), Passes()
        await pass_and_be_refused(gate, wait_s)
        refused_s = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            await start_waiting(tasks, gate, passes, "a")
        assert -1e-9 <= passes[0][1] - refused_s - wait_s < 0.2

    run_virtual(main())


@on_virtual_time
async def test_a_longer_pause_also_holds_the_calls_that_wait_already() -> None:
    """The refusal of a call in flight may name a later time than the one before."""
    gate, passes = await open_gate(), Passes()
    first, second = await gate.wait_turn(), await gate.wait_turn()
    gate.report_refused(first, 10.0)
    begun_s = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "a")
        await anyio.sleep(5)
        gate.report_refused(second, 10.0)
    assert -1e-9 <= passes[0][1] - begun_s - 15.0 < 0.2


@on_virtual_time
async def test_a_shorter_wait_does_not_shorten_a_longer_pause() -> None:
    gate = await open_gate()
    first, second = await gate.wait_turn(), await gate.wait_turn()
    gate.report_refused(first, 60.0)
    begun_s = anyio.current_time()
    gate.report_refused(second, 1.0)
    await gate.wait_turn()
    assert anyio.current_time() - begun_s == pytest.approx(60.0)


ENDS = st.sampled_from(["accepted", "refused", "failed", "not sent"])
WAITS_S = st.sampled_from([None, 0.0, 0.5, 3.0, 30.0])
EVENTS = st.lists(st.tuples(ENDS, WAITS_S), max_size=25)


@given(events=EVENTS, rate_per_s=st.sampled_from([None, 0.5, 20.0]))
def test_no_call_passes_inside_a_pause(events: list[tuple[str, float | None]], rate_per_s: float | None) -> None:
    """After any history; and every call gets its turn within an hour."""

    async def main() -> None:
        gate, paused_until_s = await open_gate(rate_per_s=rate_per_s), 0.0
        for kind, wait_s in events:
            with anyio.fail_after(3600):
                token = await gate.wait_turn()
            now_s = anyio.current_time()
            assert now_s >= paused_until_s - 1e-9
            match kind:
                case "accepted":
                    gate.report_accepted(token)
                case "refused":
                    gate.report_refused(token, wait_s)
                    paused_until_s = max(paused_until_s, now_s + (wait_s or 0.0))
                case _:
                    gate.report_ended(token, answered=kind == "failed")

    run_virtual(main())


@on_virtual_time
async def test_consecutive_refusals_without_retry_after_lengthen_the_wait() -> None:
    """A service that refuses all calls is called less and less often, at most 150 s apart."""
    gate = await open_gate(patience_s=3600)
    passed_s = []
    for _ in range(24):
        await pass_and_be_refused(gate, None)
        passed_s.append(anyio.current_time())
    gaps_s = [later - earlier for earlier, later in pairwise(passed_s)]
    assert 20 < max(gaps_s) <= 150.1
    assert gaps_s[0] < 1


@on_virtual_time
async def test_refusals_that_outlast_the_patience_end_the_run() -> None:
    gate = await open_gate(patience_s=100.0)
    await pass_and_be_refused(gate, 60.0)
    await pass_and_be_refused(gate, 60.0)
    with pytest.raises(TemporaryError, match="120 s"):
        await pass_and_be_refused(gate, 60.0)


@pytest.mark.parametrize(
    ("statuses_are_429", "error"),
    [
        pytest.param([True, True, True], QuotaExhaustedError, id="too-many-calls"),
        pytest.param([True, False, True], TemporaryError, id="among-them-another-refusal"),
    ],
)
def test_refusals_after_successes_are_a_limit_of_a_day_if_all_were_429(
    statuses_are_429: list[bool], error: type[StopError]
) -> None:
    """A script that stops at a daily cap is told from a service that is down behind a proxy."""

    async def main() -> None:
        gate = await open_gate(patience_s=100.0)
        for is_limit in statuses_are_429[:-1]:
            gate.report_refused(await gate.wait_turn(), 60.0, is_limit=is_limit)
        with pytest.raises(error, match="120 s"):
            gate.report_refused(await gate.wait_turn(), 60.0, is_limit=statuses_are_429[-1])

    run_virtual(main())


@on_virtual_time
async def test_429_from_the_first_call_on_is_temporary() -> None:
    gate = Gate(patience_s=100.0)
    for _ in range(2):
        gate.report_refused(await gate.wait_turn(), 60.0, is_limit=True)
    with pytest.raises(TemporaryError):
        gate.report_refused(await gate.wait_turn(), 60.0, is_limit=True)


@on_virtual_time
async def test_a_long_wait_that_is_obeyed_is_no_reason_to_end() -> None:
    """A service that closes for 15 minutes, and is then a second late, must not end a run."""
    gate = await open_gate()
    await pass_and_be_refused(gate, 900.0)
    await pass_and_be_refused(gate, 1.0)
    gate.report_accepted(await gate.wait_turn())
    assert anyio.current_time() < 1000


@on_virtual_time
async def test_a_success_renews_the_patience() -> None:
    gate = await open_gate(patience_s=100.0)
    for _ in range(10):
        await pass_and_be_refused(gate, 60.0)
        gate.report_accepted(await gate.wait_turn())
    assert gate.statistics().refused == 10


@on_virtual_time
async def test_a_failure_does_not_renew_the_patience() -> None:
    gate = await open_gate(patience_s=100.0)
    await pass_and_be_refused(gate, 60.0)
    gate.report_failed(await gate.wait_turn(), "HTTP 500")
    await pass_and_be_refused(gate, 60.0)
    with pytest.raises(TemporaryError):
        await pass_and_be_refused(gate, 60.0)


@on_virtual_time
async def test_the_users_rate_spaces_calls() -> None:
    """`--rate 2`: calls are 0.5 s apart, for any number of waiting calls, also after idle time."""
    gate, passes = await open_gate(rate_per_s=2.0), Passes()
    await anyio.sleep(100)
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, *"abcdef")
        await anyio.sleep(10)
        for _, _, token in passes:
            gate.report_accepted(token)
    gaps_s = [later - earlier for (_, earlier, _), (_, later, _) in pairwise(passes)]
    assert min(gaps_s) >= 0.5 - 1e-9
    assert len(passes) == 6


@on_virtual_time
async def test_the_statistics_count_passed_accepted_and_refused_calls() -> None:
    gate = await open_gate()
    await pass_and_be_refused(gate, 7.0)
    counted = gate.statistics()
    assert (counted.passed, counted.accepted, counted.refused) == (2, 1, 1)
    assert counted.paused_s == pytest.approx(7.0)
    assert "2 passed, 1 refused" in repr(gate)


@on_virtual_time
async def test_while_one_call_probes_the_other_pages_wait_outside_without_a_timer() -> None:
    """A page that waits with its entry, for the next month perhaps, makes no other page spin."""
    gate, entered = Gate(), list[str]()

    async def enter(name: str, leave: anyio.Event) -> None:
        async with gate.entry():
            entered.append(name)
            await leave.wait()

    first, second = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter, "first", first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(enter, "second", second)
        await anyio.sleep(3600)
        assert entered == ["first"]
        first.set()
        await anyio.wait_all_tasks_blocked()
        assert entered == ["first", "second"]
        second.set()


@on_virtual_time
async def test_in_a_long_pause_no_page_enters() -> None:
    gate = await open_gate()
    await pass_and_be_refused(gate, 30.0)
    begun_s = anyio.current_time()
    async with gate.entry():
        assert anyio.current_time() - begun_s == pytest.approx(30.0, abs=1.1)


@on_virtual_time
async def test_a_page_with_a_reservation_leaves_when_a_long_pause_begins() -> None:
    gate, turns = await open_gate(rate_per_s=2.0), list[Token | None]()
    token = await gate.wait_turn()

    async def wait() -> None:
        async with gate.entry() as entry:
            turns.append(await gate.wait_near_turn(entry))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert turns == []
        gate.report_refused(token, 30.0)
    assert turns == [None]


@on_virtual_time
async def test_pages_enter_only_as_fast_as_the_pace_lets_them_pass() -> None:
    """Sixty-four pages in flight would else hold sixty-four reservations while the pace begins slowly."""
    gate, entered = await open_gate(rate_per_s=2.0), list[float]()

    async def pass_through() -> None:
        async with gate.entry() as entry:
            entered.append(anyio.current_time())
            token = await gate.wait_near_turn(entry)
            assert token is not None
            gate.report_accepted(token)

    begun_s = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            tasks.start_soon(pass_through)
    assert sum(at_s == begun_s for at_s in entered) <= 3
    assert entered[-1] - begun_s > 2.0


EMPTY = Allowance(0, 30.0, 20, 60.0)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(lambda gate, token: gate.report_accepted(token, EMPTY), id="accepted"),
        pytest.param(lambda gate, token: gate.report_refused(token, None, EMPTY), id="refused"),
        pytest.param(lambda gate, token: gate.report_refused(token, 2.0, EMPTY), id="refused-with-a-shorter-wait"),
    ],
)
def test_a_used_up_allowance_pauses_all_calls_until_its_reset(report: Callable[[Gate, Token], None]) -> None:
    async def main() -> None:
        gate, passes = await open_gate(), Passes()
        report(gate, await gate.wait_turn())
        begun_s = anyio.current_time()
        assert gate.statistics().paused_s == pytest.approx(30.0)
        async with anyio.create_task_group() as tasks:
            await start_waiting(tasks, gate, passes, "a")
        assert -1e-9 <= passes[0][1] - begun_s - 30.0 < 0.2

    run_virtual(main())


@on_virtual_time
async def test_calls_in_flight_use_up_what_was_left_when_a_reply_was_written() -> None:
    gate = await open_gate()
    first, *_ = [await gate.wait_turn() for _ in range(4)]
    gate.report_accepted(first, Allowance(4, 30.0))
    assert gate.statistics().paused_s == 0
    first, *_ = [await gate.wait_turn() for _ in range(4)]
    gate.report_accepted(first, Allowance(3, 30.0))
    assert gate.statistics().paused_s == pytest.approx(30.0)


@on_virtual_time
async def test_an_allowance_shortens_no_pause_and_a_stale_one_prolongs_none() -> None:
    """A reply that was long on its way counts from its arrival, as its reset does."""
    gate = await open_gate()
    first, second = await gate.wait_turn(), await gate.wait_turn()
    gate.report_refused(first, 60.0, Allowance(0, 5.0))
    assert gate.statistics().paused_s == pytest.approx(60.0)
    gate.report_accepted(second, Allowance(59, 60.0))
    assert gate.statistics().paused_s == pytest.approx(60.0)
    begun_s = anyio.current_time()
    await gate.wait_turn()
    assert anyio.current_time() - begun_s == pytest.approx(60.0)


@on_virtual_time
async def test_a_header_that_always_says_zero_is_disbelieved() -> None:
    gate = await open_gate()
    begun_s = anyio.current_time()
    for _ in range(50):
        gate.report_accepted(await gate.wait_turn(), EMPTY)
    assert anyio.current_time() - begun_s < 3 * 31


@on_virtual_time
async def test_the_statistics_show_the_limit_that_was_learned() -> None:
    """Nothing before a refusal; then the rate, after calls that went one at a time."""
    gate = await open_gate(rate_per_s=2.0)
    assert gate.statistics().learned == Learned()
    for call in range(100):
        token = await gate.wait_turn()
        if call % 10 == 9:
            gate.report_refused(token, 5.0)
        else:
            gate.report_accepted(token)
    assert gate.statistics().learned.is_known


@on_virtual_time
async def test_each_pause_is_reported_once() -> None:
    """Refusals of calls that were in flight together are one pause."""
    pauses: list[float | None] = []
    gate = Gate(on_pause=pauses.append)
    gate.report_accepted(await gate.wait_turn())
    first, second = await gate.wait_turn(), await gate.wait_turn()
    gate.report_refused(first, 10.0)
    gate.report_refused(second, 10.0)
    await pass_and_be_refused(gate, None)
    assert pauses == [10.0, None]


@on_virtual_time
async def test_a_pause_that_another_run_was_asked_to_make_holds_all_calls_and_is_no_refusal() -> None:
    """It reaches calls that wait already, and a shorter one ends none."""
    gate, passes = await open_gate(rate_per_s=1), Passes()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "waits already")
        gate.pause(30)
        gate.pause(5)
        assert gate.statistics().paused_s == 30
        await start_waiting(tasks, gate, passes, "comes later")
    assert [at_s for _, at_s, _ in passes] == [30, 31]
    assert gate.statistics().refused == 0

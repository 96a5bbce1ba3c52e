"""The gate on virtual time: who passes, when, and who waits for whom."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TemporaryError
from pipeline.gate import Gate
from tests.virtual_time import on_virtual_time, run_virtual

Passes = list[tuple[str, float]]

HALF: Final = 0.5


def fixed(jitter: float) -> Callable[[], float]:
    """Return a source of jitter that always says the same."""
    return lambda: jitter


async def pass_gate(gate: Gate, passes: Passes, name: str = "") -> None:
    """Wait for a turn and note when it came."""
    await gate.wait_turn()
    passes.append((name, anyio.current_time()))


async def open_gate(**options: float) -> Gate:
    """Return a gate whose first call was answered."""
    gate = Gate(jitter=fixed(HALF), **options)
    await gate.wait_turn()
    gate.report_accepted()
    return gate


async def start_waiting(tasks: anyio.abc.TaskGroup, gate: Gate, passes: Passes, *names: str) -> None:
    """Start calls that wait at the gate, and let each come as far as it can."""
    for name in names:
        tasks.start_soon(pass_gate, gate, passes, name)
    await anyio.wait_all_tasks_blocked()


@on_virtual_time
async def test_the_first_call_goes_alone_until_it_is_answered() -> None:
    """Of three calls one passes at once; the others pass when it is answered."""
    gate, passes = Gate(), Passes()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "first", "second", "third")
        await anyio.sleep(30)
        assert passes == [("first", 0.0)]
        gate.report_accepted()
    assert sorted(passes) == [("first", 0.0), ("second", 30.0), ("third", 30.0)]


@pytest.mark.parametrize(
    ("report", "second_round"),
    [
        pytest.param(lambda gate: gate.report_failed(reached=True), 2, id="reached-lets-all-go"),
        pytest.param(lambda gate: gate.report_failed(reached=False), 1, id="not-reached-leaves-the-next-alone"),
        pytest.param(lambda gate: gate.report_refused(0.5), 1, id="refused-leaves-the-next-alone"),
    ],
)
def test_a_failed_scout_lets_go_whom_its_failure_allows(report: Callable[[Gate], None], second_round: int) -> None:
    """The first call's outcome decides whether all others go, or one of them scouts again."""

    async def main() -> None:
        gate, passes = Gate(), Passes()
        async with anyio.create_task_group() as tasks:
            await start_waiting(tasks, gate, passes, "a", "b", "c")
            report(gate)
            await anyio.sleep(1.0)  # beyond the pause after a refusal
            assert len(passes) == 1 + second_round
            gate.report_accepted()
        assert len(passes) == 3

    run_virtual(main())


@on_virtual_time
async def test_a_cancelled_scout_lets_the_next_one_scout() -> None:
    """A scout that is called off while it waits for its turn does not keep the gate shut."""
    gate, passes = Gate(), Passes()
    await gate.wait_turn()
    gate.report_refused(100.0)
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            scout = anyio.create_task_group()
            async with scout:
                await start_waiting(scout, gate, passes, "cancelled")
                await start_waiting(tasks, gate, passes, "next", "last")
                scope.cancel()
        await anyio.sleep(200)
        assert passes == [("next", 100.0)]
        gate.report_accepted()
    assert passes == [("next", 100.0), ("last", 200.0)]


@on_virtual_time
async def test_a_cancelled_waiter_leaves_the_scout_alone() -> None:
    """Calling off one who waits for the scout's outcome does not let the others go before it."""
    gate, passes = Gate(), Passes()
    await gate.wait_turn()
    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(5):
            await gate.wait_turn()
        await start_waiting(tasks, gate, passes, "patient")
        await anyio.sleep(5)
        assert passes == []
        gate.report_accepted()
    assert passes == [("patient", 10.0)]


@pytest.mark.parametrize("wait_s", [pytest.param(value, id=f"{value:g}-s") for value in (0.25, 1.0, 17.0, 3599.0)])
def test_a_refusal_pauses_everybody_for_exactly_what_the_service_named(wait_s: float) -> None:
    """Five calls that come during the pause pass at its end to the microsecond, and none before."""

    async def main() -> None:
        gate, passes = await open_gate(), Passes()
        await anyio.sleep(10)
        gate.report_refused(wait_s)
        async with anyio.create_task_group() as tasks:
            await start_waiting(tasks, gate, passes, *"abcde")
            assert gate.statistics().paused_s == pytest.approx(wait_s)
        assert [at_s for _, at_s in passes] == pytest.approx([10 + wait_s] * 5)
        assert min(at_s for _, at_s in passes) >= 10 + wait_s

    run_virtual(main())


@on_virtual_time
async def test_a_shorter_wait_does_not_shorten_a_longer_pause() -> None:
    """Of two refusals the one that asks for the later moment counts."""
    gate, passes = await open_gate(), Passes()
    gate.report_refused(60.0)
    gate.report_refused(1.0)
    await pass_gate(gate, passes)
    assert passes == [("", 60.0)]


@on_virtual_time
async def test_a_pause_that_grows_holds_those_who_wait_already() -> None:
    """A second refusal during the pause is obeyed by calls that were waiting for the first to end."""
    gate, passes = await open_gate(), Passes()
    gate.report_refused(10.0)
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "a")
        await anyio.sleep(9)
        gate.report_refused(10.0)
    assert passes == [("a", 19.0)]


Event = tuple[float, str, float | None]

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 50, allow_nan=False),
        st.sampled_from(["call", "accepted", "refused", "failed"]),
        st.one_of(st.none(), st.floats(0, 100, allow_nan=False)),
    ),
    min_size=1,
    max_size=20,
)


@given(EVENTS, st.floats(0, 1, exclude_max=True), st.sampled_from([None, 0.5, 2.0]))
def test_nobody_passes_inside_a_pause(events: list[Event], jitter: float, rate_per_s: float | None) -> None:
    """Whatever is reported and whoever comes when: each pass is outside all pauses, 1/rate after the last."""

    async def main() -> None:
        gate = Gate(rate_per_s=rate_per_s, patience_s=1e9, jitter=fixed(jitter))
        pauses: list[tuple[float, float]] = []
        passes = Passes()
        async with anyio.create_task_group() as tasks:
            await pass_gate(gate, passes)
            gate.report_accepted()
            for after_s, kind, wait_s in events:
                await anyio.sleep(after_s)
                now_s = anyio.current_time()
                match kind:
                    case "call":
                        await start_waiting(tasks, gate, passes, "")
                    case "accepted":
                        gate.report_accepted()
                    case "failed":
                        gate.report_failed(reached=False)
                    case _:
                        gate.report_refused(wait_s)
                        named_s = gate.statistics().paused_s if wait_s is None else wait_s
                        pauses.append((now_s, now_s + named_s))
                assert gate.statistics().paused_s >= max((end - now_s for _, end in pauses), default=0) - 1e-9
        times = [at_s for _, at_s in passes]
        assert len(times) == 1 + sum(kind == "call" for _, kind, _ in events)
        # what passed at the very moment of a refusal had passed before it was reported
        assert not [at_s for at_s in times for begin, end in pauses if begin < at_s < end - 1e-9]
        if rate_per_s is not None:
            assert all(b - a >= 1 / rate_per_s - 1e-9 for a, b in pairwise(times))

    run_virtual(main())


@on_virtual_time
async def test_without_a_named_wait_the_pause_grows() -> None:
    """Refusals that name no wait pause for half a second and a doubling share of jitter, 20.5 s at most."""
    gate, paused = await open_gate(patience_s=1e9), list[float]()
    for _ in range(7):
        gate.report_refused(None)
        paused.append(gate.statistics().paused_s)
        await gate.wait_turn()
    assert paused == pytest.approx([0.5 + HALF * bound for bound in (1, 2, 4, 8, 16, 20, 20)])


@on_virtual_time
async def test_calls_on_the_wire_share_one_refusal() -> None:
    """Eight refusals of calls that went out together count as one, so the pause does not explode."""
    gate = await open_gate()
    for _ in range(8):
        gate.report_refused(None)
    assert gate.statistics().paused_s == pytest.approx(0.5 + HALF)
    assert gate.statistics().refused == 8


@on_virtual_time
async def test_the_jitter_spreads_the_pause() -> None:
    """Two gates with different jitter pause differently: machines that share a key do not come back together."""
    pauses = []
    for jitter in (0.0, 0.9):
        gate = Gate(jitter=fixed(jitter))
        await gate.wait_turn()
        gate.report_refused(None)
        pauses.append(gate.statistics().paused_s)
    assert pauses == pytest.approx([0.5, 1.4])


@on_virtual_time
async def test_a_success_ends_the_growth() -> None:
    """After an answer the next silent refusal begins small again."""
    gate = await open_gate()
    for _ in range(4):
        gate.report_refused(None)
        await gate.wait_turn()
    gate.report_accepted()
    gate.report_refused(None)
    assert gate.statistics().paused_s == pytest.approx(0.5 + HALF)


async def _refuse_every_minute(gate: Gate, times: int) -> None:
    for _ in range(times):
        gate.report_refused(60.0)
        await gate.wait_turn()


@on_virtual_time
async def test_refusals_that_outlast_the_patience_end_the_run() -> None:
    """Ten minutes of refusals are borne; the next one raises the error of exit code 5."""
    gate = await open_gate(patience_s=600.0)
    await _refuse_every_minute(gate, 10)
    gate.report_refused(60.0)
    await gate.wait_turn()
    with pytest.raises(TemporaryError, match="refuses calls for 660 s") as raised:
        gate.report_refused(60.0)
    assert raised.value.exit_code == 5


@pytest.mark.parametrize(
    ("report", "borne"),
    [
        pytest.param(Gate.report_accepted, True, id="success-renews-it"),
        pytest.param(partial(Gate.report_failed, reached=True), False, id="failure-does-not"),
    ],
)
def test_only_a_success_renews_the_patience(report: Callable[[Gate], None], *, borne: bool) -> None:
    """One answer in the middle starts the patience anew; an HTTP 500 does not."""

    async def main() -> None:
        gate = await open_gate(patience_s=600.0)
        await _refuse_every_minute(gate, 9)
        report(gate)
        await _raises_unless(borne, lambda: _refuse_every_minute(gate, 9))

    run_virtual(main())


@on_virtual_time
async def test_the_rate_spaces_calls() -> None:
    """At 2 calls a second six calls that come together go out half a second apart."""
    gate, passes = await open_gate(rate_per_s=2.0), Passes()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, *"abcdef")
    assert [at_s for _, at_s in passes] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


@on_virtual_time
async def test_the_rate_saves_nothing_up() -> None:
    """After an idle hour calls still go out one by one, without a burst."""
    gate, passes = await open_gate(rate_per_s=1.0), Passes()
    await anyio.sleep(3600)
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, *"abc")
    assert [at_s for _, at_s in passes] == pytest.approx([3600.0, 3601.0, 3602.0])


@on_virtual_time
async def test_without_a_rate_calls_go_out_together() -> None:
    """Negative control of the spacing: an unbounded gate lets a hundred pass in the same moment."""
    gate, passes = await open_gate(), Passes()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, *map(str, range(100)))
    assert {at_s for _, at_s in passes} == {0.0}


@on_virtual_time
async def test_the_statistics_count_what_was_seen() -> None:
    """Passed, accepted and refused are counted, and the representation tells them."""
    gate = await open_gate()
    await gate.wait_turn()
    gate.report_refused(7.0)
    statistics = gate.statistics()
    assert (statistics.passed, statistics.accepted, statistics.refused) == (2, 1, 1)
    assert repr(gate) == "<Gate 2 passed, 1 refused, paused 7.0 s>"


async def _raises_unless(borne: bool, act: Callable[[], Awaitable[None]]) -> None:  # noqa: FBT001 - two outcomes
    if borne:
        await act()
        return
    with pytest.raises(TemporaryError):
        await act()

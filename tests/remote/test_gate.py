"""The gate on virtual time: who passes, when, and who waits for whom. How fast they pass is the pace's own business."""

from collections.abc import Callable
from itertools import pairwise

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TemporaryError
from pipeline.remote.gate import Gate
from pipeline.remote.pace import Token
from tests.virtual_time import on_virtual_time, run_virtual

Passes = list[tuple[str, float, Token]]


async def pass_gate(gate: Gate, passes: Passes, name: str = "") -> None:
    """Wait for a turn and note when it came."""
    token = await gate.wait_turn()
    passes.append((name, anyio.current_time(), token))


async def open_gate(*, rate_per_s: float | None = None, patience_s: float = 600.0) -> Gate:
    """Return a gate whose first call was answered."""
    gate = Gate(rate_per_s=rate_per_s, patience_s=patience_s)
    gate.report_accepted(await gate.wait_turn())
    return gate


async def refuse(gate: Gate, wait_s: float | None) -> None:
    """Let one call through and have it refused."""
    gate.report_refused(await gate.wait_turn(), wait_s)


async def start_waiting(tasks: TaskGroup, gate: Gate, passes: Passes, *names: str) -> None:
    """Start calls that wait at the gate, and let each come as far as it can."""
    for name in names:
        tasks.start_soon(pass_gate, gate, passes, name)
    await anyio.wait_all_tasks_blocked()


@on_virtual_time
async def test_the_first_call_goes_alone_until_it_is_answered() -> None:
    """Of three calls one passes at once; the others pass, in their order, when it is answered."""
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
        pytest.param(lambda gate, token: gate.report_failed(token, reached=True), 2, id="reached-lets-all-go"),
        pytest.param(
            lambda gate, token: gate.report_failed(token, reached=False), 1, id="not-reached-leaves-one-alone"
        ),
        pytest.param(lambda gate, token: gate.report_refused(token, 0.5), 1, id="refused-leaves-one-alone"),
    ],
)
def test_a_failed_scout_lets_go_whom_its_failure_allows(
    report: Callable[[Gate, Token], None], second_round: int
) -> None:
    """The first call's outcome decides whether all others go, or one of them scouts again."""

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
async def test_a_cancelled_waiter_lets_the_next_one_wait() -> None:
    """Who is called off while it waits for its turn leaves the turn to the next."""
    gate, passes = await open_gate(), Passes()
    await refuse(gate, 100.0)
    with anyio.move_on_after(10):
        await gate.wait_turn()
    async with anyio.create_task_group() as tasks:
        await start_waiting(tasks, gate, passes, "next")
    assert [name for name, _, _ in passes] == ["next"]
    assert passes[0][1] >= 100


@pytest.mark.parametrize("wait_s", [0.25, 1.0, 59.0, 3600.0])
def test_a_refusal_pauses_everybody_for_what_the_service_named(wait_s: float) -> None:
    """Nobody passes inside a Retry-After, and somebody does right after it."""

    async def main() -> None:
        gate, passes = await open_gate(), Passes()
        await refuse(gate, wait_s)
        refused_s = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            await start_waiting(tasks, gate, passes, "a")
        assert -1e-9 <= passes[0][1] - refused_s - wait_s < 0.2

    run_virtual(main())


@on_virtual_time
async def test_a_pause_that_grows_holds_those_who_wait_already() -> None:
    """A refusal of a call that was on the wire may name a later time: who sleeps at the gate sleeps on."""
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
    """The longest wait that was named counts."""
    gate = await open_gate()
    first, second = await gate.wait_turn(), await gate.wait_turn()
    gate.report_refused(first, 60.0)
    begun_s = anyio.current_time()
    gate.report_refused(second, 1.0)
    await gate.wait_turn()
    assert anyio.current_time() - begun_s == pytest.approx(60.0)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["accept", "refuse", "fail", "lose"]), st.sampled_from([None, 0.0, 0.5, 3.0, 30.0])),
    max_size=25,
)


@given(events=EVENTS, rate_per_s=st.sampled_from([None, 0.5, 20.0]))
def test_nobody_passes_inside_a_pause(events: list[tuple[str, float | None]], rate_per_s: float | None) -> None:
    """Whatever happened before, no call goes out while a named wait lasts, and every caller gets its turn."""

    async def main() -> None:
        gate, paused_until_s = await open_gate(rate_per_s=rate_per_s), 0.0
        for kind, wait_s in events:
            with anyio.fail_after(3600):
                token = await gate.wait_turn()
            now_s = anyio.current_time()
            assert now_s >= paused_until_s - 1e-9
            match kind:
                case "accept":
                    gate.report_accepted(token)
                case "refuse":
                    gate.report_refused(token, wait_s)
                    paused_until_s = max(paused_until_s, now_s + (wait_s or 0.0))
                case _:
                    gate.report_failed(token, reached=kind == "fail")

    run_virtual(main())


@on_virtual_time
async def test_without_a_named_wait_refusals_in_a_row_hold_longer_and_longer() -> None:
    """A service that refuses everything is asked ever more seldom, at most 20 s apart."""
    gate = await open_gate()
    passed_s = []
    for _ in range(14):
        await refuse(gate, None)
        passed_s.append(anyio.current_time())
    gaps_s = [later - earlier for earlier, later in pairwise(passed_s)]
    assert gaps_s[-1] == pytest.approx(20.0, rel=0.1)
    assert gaps_s[0] < 1


@on_virtual_time
async def test_refusals_that_outlast_the_patience_end_the_run() -> None:
    """Without one success for so long the run is better tried again later."""
    gate = await open_gate(patience_s=100.0)
    await refuse(gate, 60.0)
    await refuse(gate, 60.0)
    with pytest.raises(TemporaryError, match="120 s"):
        await refuse(gate, 60.0)


@on_virtual_time
async def test_a_success_renews_the_patience() -> None:
    """Refusals with a success among them may go on for ever."""
    gate = await open_gate(patience_s=100.0)
    for _ in range(10):
        await refuse(gate, 60.0)
        gate.report_accepted(await gate.wait_turn())
    assert gate.statistics().refused == 10


@on_virtual_time
async def test_a_failure_does_not_renew_the_patience() -> None:
    """A 500 is no success."""
    gate = await open_gate(patience_s=100.0)
    await refuse(gate, 60.0)
    gate.report_failed(await gate.wait_turn(), reached=True)
    await refuse(gate, 60.0)
    with pytest.raises(TemporaryError):
        await refuse(gate, 60.0)


@on_virtual_time
async def test_the_rate_spaces_calls() -> None:
    """`--rate 2`: calls are half a second apart, however many wait, and idle time is not saved up."""
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
async def test_the_statistics_count_what_was_seen() -> None:
    """What the progress line shows."""
    gate = await open_gate()
    await refuse(gate, 7.0)
    seen = gate.statistics()
    assert (seen.passed, seen.accepted, seen.refused) == (2, 1, 1)
    assert seen.paused_s == pytest.approx(7.0)
    assert "2 passed, 1 refused" in repr(gate)

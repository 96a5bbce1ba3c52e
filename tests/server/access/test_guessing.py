"""Wrong keys are answered more and more slowly; right ones at once."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.access import authentication
from pipeline.server.access.guessing import (
    DELAY_MAX_S,
    OVERALL_BURST,
    OVERALL_RATE_PER_S,
    PEER_BURST,
    PEER_RATE_PER_S,
    GuessLimit,
    Schedule,
)
from tests.clocks import Clock
from tests.server.keyed import keyed_server, make_key


def limit(clock: Clock) -> GuessLimit:
    """Return a limit with the test's clock."""
    return GuessLimit(lambda: clock.uptime_s)


def test_a_peer_s_first_wrong_keys_are_answered_at_once_and_then_at_its_rate() -> None:
    guesses = limit(Clock())
    delays = [guesses.delay_s("192.0.2.1") for _ in range(PEER_BURST + 3)]
    assert delays == pytest.approx([0] * PEER_BURST + [1 / PEER_RATE_PER_S, 2 / PEER_RATE_PER_S, 3 / PEER_RATE_PER_S])


def test_other_peers_do_not_wait_for_one_that_guesses() -> None:
    guesses = limit(Clock())
    for _ in range(100):
        guesses.delay_s("192.0.2.1")
    assert guesses.delay_s("192.0.2.2") == 0


@pytest.mark.parametrize(
    "address", ["2001:db8::{}", "2001:db8::{}%eth0", "::ffff:192.0.2.1"], ids=["network", "scope", "mapped"]
)
def test_the_addresses_of_one_host_are_one_peer(address: str) -> None:
    guesses = limit(Clock())
    for number in range(PEER_BURST):
        guesses.delay_s(address.format(number) if "{}" in address else ("192.0.2.1", address)[number % 2])
    assert guesses.delay_s(address.format("ff")) > 0


def test_all_peers_together_have_a_rate() -> None:
    clock = Clock()
    guesses = limit(clock)
    for number in range(OVERALL_BURST):
        assert guesses.delay_s(f"192.0.2.{number}") == 0
    assert guesses.delay_s("198.51.100.1") == pytest.approx(1 / OVERALL_RATE_PER_S)
    clock.uptime_s += OVERALL_BURST / OVERALL_RATE_PER_S + 1
    assert guesses.delay_s("198.51.100.2") == 0


def test_peers_that_have_stopped_guessing_are_forgotten() -> None:
    clock = Clock()
    guesses = limit(clock)
    for number in range(10_000):
        guesses.delay_s(f"10.0.{number // 250}.{number % 250}")
        clock.uptime_s += 0.01
    assert int(repr(guesses).split()[1]) <= 4096


@given(st.floats(0.1, 100), st.integers(1, 50), st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_no_stretch_of_time_has_more_answers_than_the_burst_and_its_share(
    rate_per_s: float, burst: int, gaps_s: list[float]
) -> None:
    schedule, now_s, due_s = Schedule(rate_per_s, burst), 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        if (wait_s := schedule.book(now_s)) <= DELAY_MAX_S:
            due_s.append(now_s + wait_s)
    for first, begin_s in enumerate(due_s):
        for last in range(first, len(due_s)):
            assert last - first + 1 <= burst + rate_per_s * (due_s[last] - begin_s) + 1 + 1e-6


@pytest.fixture
def slept_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the delays of answers, none of which is waited for."""
    delays: list[float] = []

    async def note(delay_s: float) -> None:
        delays.append(delay_s)

    class Quick:
        sleep = staticmethod(note)

    monkeypatch.setattr(authentication, "asyncio", Quick)
    return delays


async def test_wrong_keys_are_delayed_on_every_path_and_the_right_one_never(
    tmp_path: Path, slept_s: list[float]
) -> None:
    """From one address, as behind a proxy."""
    secret, _ = make_key(tmp_path / "keys.sqlite3")
    async with keyed_server(tmp_path / "keys.sqlite3", rate_per_s=1000.0) as client:
        statuses = [(await client.recognise("pm_" + "A" * 43)).status for _ in range(PEER_BURST)]
        statuses += [(await client.usage("7315")).status, (await client.sign_in("wrong")).status]
        assert set(statuses) == {401}
        assert slept_s[PEER_BURST:] == pytest.approx([0.5, 1.0])
        for _ in range(20):
            await client.recognise("wrong")
        late = await client.recognise("wrong")
        assert (late.status, slept_s[-1]) == (429, DELAY_MAX_S)
        assert int(late.headers["Retry-After"]) > DELAY_MAX_S
        del slept_s[:]
        assert (await client.recognise(secret)).status == (await client.usage(secret)).status == 200
        assert (await client.sign_in(secret)).status == 204
        assert slept_s == []


async def test_a_request_without_a_key_is_no_guess(tmp_path: Path, slept_s: list[float]) -> None:
    make_key(tmp_path / "keys.sqlite3")
    async with keyed_server(tmp_path / "keys.sqlite3") as client:
        assert {(await client.usage()).status for _ in range(PEER_BURST + 5)} == {401}
        assert (await client.usage("")).status == 401
    assert slept_s == []


async def test_guesses_in_parallel_take_their_time_and_a_right_key_does_not_wait_for_them(tmp_path: Path) -> None:
    secret, _ = make_key(tmp_path / "keys.sqlite3")
    async with keyed_server(tmp_path / "keys.sqlite3") as client:
        guesses = [asyncio.create_task(client.recognise(f"guess {number}")) for number in range(60)]
        done, waiting = await asyncio.wait(guesses, timeout=1.0)
        assert (await client.recognise(secret)).status == 200
        assert len(done) <= PEER_BURST + 2 * PEER_RATE_PER_S * 5  # on a slow machine a second is several
        assert waiting
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

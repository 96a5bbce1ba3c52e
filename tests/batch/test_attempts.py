"""The attempts for one page: which calls use one up, how long retries wait, and when the run ends."""

import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import msgspec
import pytest

from pipeline.batch.attempts import Attempts
from pipeline.batch.events import EventQueue
from pipeline.batch.page import Origin, Page
from pipeline.batch.recorder import Recorder
from pipeline.config import Config
from pipeline.errors import (
    AttemptsExhaustedError,
    BlockedPageError,
    InterruptedRunError,
    MisdirectedError,
    PageError,
    QuotaExhaustedError,
    StopError,
    TemporaryError,
)
from pipeline.ledger.budget import Budget
from pipeline.ledger.operations import Owner
from pipeline.records import PageId, Payload, Record, SourceFile
from pipeline.remote.circuit import Circuit
from pipeline.remote.gate import Gate
from pipeline.remote.outcome import Fault, Outcome
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.wire import BodyKind, WireReply
from pipeline.workspace.index import Index
from pipeline.workspace.sink import open_sink
from tests.runs import results
from tests.virtual_time import run_virtual

if TYPE_CHECKING:
    from pipeline.remote.client import Client

GOOD = Outcome(200, reply=WireReply("doc", "text", 0))
BROKEN = Outcome(500, detail="oops", body=BodyKind.API)
UNREACHED = Outcome(fault=Fault.NOT_SENT, detail="cannot connect")

PAGES = [f"page-{number:02}" for number in range(60)]

Answer = Callable[[str, int], Outcome]
"""The outcome of a call, by the page's name and the 1-based number of its call."""


class ScriptedClient:
    """Answers by a script, and remembers when each page was sent.

    Args:
        answer: The script.
        latency_s: Time to each answer.
    """

    def __init__(self, answer: Answer, latency_s: float = 0.0) -> None:
        self._answer = answer
        self._latency_s = latency_s
        self.sent: dict[str, list[float]] = {}

    @property
    def calls(self) -> int:
        """Number of calls."""
        return sum(map(len, self.sent.values()))

    async def post(self, body: bytes) -> Outcome:
        """Answer one call; the body is the page's name."""
        times = self.sent.setdefault(body.decode(), [])
        times.append(anyio.current_time())
        number = len(times)
        await anyio.sleep(self._latency_s)
        return self._answer(body.decode(), number)


def page(name: str) -> Page:
    """Return a page whose body is its name."""
    payload = Payload(PageId(f"url:{name}#1"), None, 1, 1, name.encode(), None)
    return Page(SourceFile(name, None), payload, anyio.current_time())


@asynccontextmanager
async def open_attempts(
    workspace: Path, client: ScriptedClient, shutdown: Shutdown, **run: object
) -> AsyncGenerator[Attempts]:
    """Open attempts without a ledger whose texts go into a real workspace; the jitter is one half."""
    workspace.mkdir(exist_ok=True)
    config = msgspec.convert({"run": run}, Config)
    with Index.open(workspace) as index:
        async with open_sink(workspace) as sink:
            yield Attempts(
                budget=Budget(None, workspace_id="w", owner=Owner("o")),
                gate=Gate(),
                client=cast("Client", client),
                recorder=Recorder(sink, index, shutdown, max_failures=None, events=EventQueue()),
                shutdown=shutdown,
                config=config,
                origin=Origin("fake"),
                jitter=lambda: 0.5,
            )


def recognise(
    workspace: Path, names: Sequence[str], answer: Answer, *, latency_s: float = 0.0, **run: object
) -> tuple[list[object], ScriptedClient]:
    """Recognise pages side by side, at most eight at a time, on virtual time, until one ends the run.

    Returns:
        How each ended, in their order: a record, an error, or None when the run ended first; and the client.
    """
    client = ScriptedClient(answer, latency_s)
    ends: dict[str, object] = {}

    async def one(attempts: Attempts, name: str, shutdown: Shutdown, slots: anyio.Semaphore) -> None:
        async with slots:
            try:
                ends[name] = await attempts.recognise_page(page(name))
            except ShuttingDownError:
                ends[name] = None
            except StopError as exc:
                ends[name] = exc
                shutdown.request(exc)

    async def main() -> None:
        shutdown, slots = Shutdown(), anyio.Semaphore(8)
        async with open_attempts(workspace, client, shutdown, **run) as attempts, anyio.create_task_group() as pages:
            for name in names:
                pages.start_soon(one, attempts, name, shutdown, slots)
        ends["reason"] = shutdown.reason

    run_virtual(main())
    return [ends[name] for name in (*names, "reason")], client


def test_a_page_whose_attempts_fail_waits_longer_each_time_and_then_fails(tmp_path: Path) -> None:
    """Three calls, half of one and half of two seconds apart; then the page has failed."""
    (end, _), client = recognise(tmp_path / "out", ["a"], lambda *_: BROKEN)
    assert isinstance(end, AttemptsExhaustedError)
    assert end.attempts == 3
    first, second, third = client.sent["a"]
    assert second - first == pytest.approx(0.5, abs=0.02)
    assert third - second == pytest.approx(1.0, abs=0.02)


def test_an_empty_retry_budget_delays_the_retries_of_all_pages_and_fails_none(tmp_path: Path) -> None:
    """Of eighty pages every second one fails once: about ten are tried again at once, the others two a second."""
    names = [f"page-{number}" for number in range(80)]

    def answer(name: str, number: int) -> Outcome:
        return BROKEN if number == 1 and int(name.partition("-")[2]) % 2 else GOOD

    (*ends, reason), client = recognise(tmp_path / "out", names, answer)
    assert all(isinstance(end, Record) for end in ends)
    assert reason is None
    first_failure_s = min(times[0] for times in client.sent.values() if len(times) > 1)
    retried = sorted(times[1] - first_failure_s for times in client.sent.values() if len(times) > 1)
    paid_for = 10 + 80 / 10
    assert len(retried) == 40
    for after_s in (2.0, 4.0, 6.0):
        assert sum(moment_s <= after_s for moment_s in retried) <= paid_for + 2 * after_s
    assert len(results(tmp_path / "out")) == 80


def test_refused_connections_of_one_page_do_not_end_the_run_while_others_are_answered(tmp_path: Path) -> None:
    """One page meets five refused connections while others are answered, and then gets its text."""

    def answer(name: str, number: int) -> Outcome:
        return UNREACHED if name == "unlucky" and number <= 5 else GOOD

    async def main() -> None:
        client, shutdown = ScriptedClient(answer), Shutdown()
        async with open_attempts(tmp_path / "out", client, shutdown) as attempts, anyio.create_task_group() as pages:

            async def others() -> None:
                for number in range(60):
                    await attempts.recognise_page(page(f"lucky-{number}"))
                    await anyio.sleep(0.25)

            pages.start_soon(others)
            await anyio.sleep(1)
            assert isinstance(await attempts.recognise_page(page("unlucky")), Record)
            assert len(client.sent["unlucky"]) == 6

    run_virtual(main())


def test_an_api_that_cannot_be_reached_ends_the_run_after_three_calls(tmp_path: Path) -> None:
    """No page has failed."""
    (*ends, reason), client = recognise(tmp_path / "out", ["a", "b"], lambda *_: UNREACHED)
    assert isinstance(reason, TemporaryError)
    assert not any(isinstance(end, PageError) for end in ends)
    assert client.calls == 3


def test_calls_that_were_not_sent_use_up_no_attempt(tmp_path: Path) -> None:
    """Refused connections, two 500s between them, then a text: three attempts may have been billed."""
    script = [UNREACHED, UNREACHED, BROKEN, UNREACHED, BROKEN, GOOD]
    (end, _), client = recognise(tmp_path / "out", ["a"], lambda _, number: script[number - 1])
    assert isinstance(end, Record)
    assert len(client.sent["a"]) == 6


def test_a_quota_error_of_the_service_ends_the_run_and_names_the_months_end(tmp_path: Path) -> None:
    """By our calendar; the service does not name the day."""

    async def main() -> None:
        client, shutdown = (
            ScriptedClient(lambda *_: Outcome(403, detail="Insufficient quota", body=BodyKind.API)),
            Shutdown(),
        )
        async with open_attempts(tmp_path / "out", client, shutdown) as attempts:
            with pytest.raises(ShuttingDownError):
                await attempts.recognise_page(page("a"))
        assert isinstance(shutdown.reason, QuotaExhaustedError)
        assert re.search(r"Insufficient quota.*the month ends on \d{4}-\d\d-01 00:00 UTC", str(shutdown.reason))

    run_virtual(main())


@pytest.mark.parametrize("outcome", [BROKEN, UNREACHED], ids=["failed", "unreached"])
def test_shutdown_cancels_the_wait_for_the_next_attempt(tmp_path: Path, outcome: Outcome) -> None:
    """The page stays pending."""

    async def main() -> None:
        client, shutdown = ScriptedClient(lambda *_: outcome), Shutdown()
        async with open_attempts(tmp_path / "out", client, shutdown) as attempts:
            await _shut_down_after(0.1, shutdown, lambda: attempts.recognise_page(page("a")))
        assert len(client.sent["a"]) == 1
        assert anyio.current_time() == pytest.approx(0.1)

    run_virtual(main())


async def _shut_down_after(wait_s: float, shutdown: Shutdown, work: Callable[[], Awaitable[object]]) -> None:
    async def request() -> None:
        await anyio.sleep(wait_s)
        shutdown.request(InterruptedRunError("enough", exit_code=130))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        with pytest.raises(ShuttingDownError):
            await work()


class TestOutage:
    """The service fails altogether: few calls are spent, and no page is blamed."""

    def test_a_dead_service_costs_eight_calls_and_no_page(self, tmp_path: Path) -> None:
        (*ends, reason), client = recognise(tmp_path / "out", PAGES, lambda *_: BROKEN)
        assert isinstance(reason, TemporaryError)
        assert "failed every call of this run" in str(reason)
        assert not any(isinstance(end, PageError) for end in ends)
        assert client.calls == 8

    @pytest.mark.parametrize("latency_s", [0.0, 0.2])
    def test_an_outage_costs_at_most_a_dozen_calls_beyond_those_in_flight(
        self, tmp_path: Path, latency_s: float
    ) -> None:
        """It begins after twenty texts, with eight pages in flight; pages without a text are undecided or unsent."""
        texts = 0

        def answer(*_: object) -> Outcome:
            nonlocal texts
            texts += 1
            return GOOD if texts <= 20 else BROKEN

        (*ends, reason), _ = recognise(tmp_path / "out", PAGES, answer, latency_s=latency_s)
        assert isinstance(reason, TemporaryError)
        assert texts - 20 <= 8 + 12
        assert len(results(tmp_path / "out")) == 20
        blamed = [end for end in ends if isinstance(end, PageError) and end.undecided_since is None]
        assert blamed == []

    def test_without_the_circuit_an_outage_costs_three_calls_per_page(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Negative control."""
        monkeypatch.setattr(Circuit, "is_probing", property(lambda _: False))
        monkeypatch.setattr(Circuit, "outage_s", lambda *_: None)
        (*ends, reason), client = recognise(tmp_path / "out", PAGES, lambda *_: BROKEN)
        assert client.calls == 3 * len(PAGES)
        assert all(isinstance(end, PageError) for end in ends)
        assert reason is None

    def test_a_service_that_comes_back_is_used_again_at_once(self, tmp_path: Path) -> None:
        """It is gone for a minute after twenty texts."""
        texts = 0

        def answer(*_: object) -> Outcome:
            nonlocal texts
            if texts >= 20 and anyio.current_time() < 60:
                return BROKEN
            texts += 1
            return GOOD

        (*_, reason), client = recognise(tmp_path / "out", PAGES, answer, latency_s=0.2)
        assert reason is None
        assert len(results(tmp_path / "out")) == len(PAGES)
        assert client.calls - len(PAGES) <= 8 + 12

    def test_a_page_that_fails_alone_among_good_ones_fails_after_its_attempts(self, tmp_path: Path) -> None:
        ends, client = recognise(tmp_path / "out", PAGES, lambda name, _: BROKEN if name == PAGES[30] else GOOD)
        assert len(results(tmp_path / "out")) == len(PAGES) - 1
        failed = ends[30]
        assert isinstance(failed, AttemptsExhaustedError)
        assert (failed.attempts, failed.undecided_since) == (3, None)
        assert ends[-1] is None
        assert client.calls == len(PAGES) + 2

    def test_a_page_that_fails_alone_in_a_run_is_undecided(self, tmp_path: Path) -> None:
        """The recorder decides at the end of the inputs."""
        (end, reason), client = recognise(tmp_path / "out", ["a"], lambda *_: BROKEN)
        assert isinstance(end, AttemptsExhaustedError)
        assert (end.undecided_since, reason, client.calls) == (1, None, 3)

    @pytest.mark.parametrize("share", [0.2, 0.35, 0.5])
    @pytest.mark.parametrize("seed", range(5))
    def test_a_service_that_fails_calls_at_random_ends_no_run(self, tmp_path: Path, share: float, seed: int) -> None:
        dice = random.Random(seed)
        names = [f"page-{number}" for number in range(200)]
        (*ends, reason), _ = recognise(
            tmp_path / "out", names, lambda *_: BROKEN if dice.random() < share else GOOD, latency_s=0.1
        )
        assert reason is None
        assert all(isinstance(end, Record | AttemptsExhaustedError) for end in ends)

    def test_a_call_without_an_outcome_is_named(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        lost = Outcome(fault=Fault.LOST, detail="timeout while waiting for the reply")
        recognise(tmp_path / "out", ["a.png"], lambda _, number: lost if number == 1 else GOOD)
        (message,) = (record.getMessage() for record in caplog.records if "billed" in record.getMessage())
        assert message == "a.png: timeout while waiting for the reply; the call may have been billed (attempt o-000001)"


class TestForeignReplies:
    """Something before the service answers instead of it."""

    @pytest.mark.parametrize("position", [0, 30, 59])
    @pytest.mark.parametrize("status", [403, 400, 451])
    def test_a_firewall_that_blocks_one_page_fails_that_page_alone(
        self, tmp_path: Path, position: int, status: int
    ) -> None:
        """Also the first and the last page: it stopped every night with "denies this key"."""
        blocked = Outcome(status, body=BodyKind.PAGE)
        (*ends, reason), _ = recognise(
            tmp_path / "out", PAGES, lambda name, _: blocked if name == PAGES[position] else GOOD, latency_s=0.1
        )
        assert reason is None
        assert isinstance(ends[position], BlockedPageError)
        assert len(results(tmp_path / "out")) == len(PAGES) - 1

    @pytest.mark.parametrize(
        ("outcome", "calls", "exit_code"),
        [
            pytest.param(Outcome(404, body=BodyKind.PAGE), 1, 2, id="404"),
            pytest.param(Outcome(302, detail="redirects to https://other.example"), 1, 2, id="redirect"),
            pytest.param(Outcome(407, body=BodyKind.PAGE), 1, 7, id="proxy-login"),
            pytest.param(Outcome(451, body=BodyKind.PAGE), 3, 7, id="451"),
            pytest.param(Outcome(403, body=BodyKind.PAGE), 3, 7, id="firewall"),
            pytest.param(Outcome(200, body=BodyKind.PAGE), 3, 7, id="another-website"),
        ],
    )
    @pytest.mark.parametrize("pages", [1, 60])
    def test_when_every_page_gets_it_the_run_stops_after_few_calls(
        self, tmp_path: Path, outcome: Outcome, calls: int, exit_code: int, pages: int
    ) -> None:
        (*ends, reason), client = recognise(tmp_path / "out", PAGES[:pages], lambda *_: outcome)
        assert isinstance(reason, StopError)
        assert (client.calls, reason.exit_code) == (calls, exit_code)
        assert not any(isinstance(end, PageError) for end in ends)

    def test_several_pages_in_a_row_stop_a_run_that_had_succeeded(self, tmp_path: Path) -> None:
        texts = 0

        def answer(*_: object) -> Outcome:
            nonlocal texts
            texts += 1
            return GOOD if texts <= 20 else Outcome(410, body=BodyKind.PAGE)

        (*ends, reason), _ = recognise(tmp_path / "out", PAGES, answer, latency_s=0.1)
        assert isinstance(reason, MisdirectedError)
        assert len(results(tmp_path / "out")) == 20
        assert texts - 20 <= 2 * 8
        assert not any(isinstance(end, PageError) for end in ends)

    def test_a_limiter_that_refuses_with_a_bare_403_costs_no_page(self, tmp_path: Path) -> None:
        """As HAProxy by default: at most ten calls in a second are admitted."""
        admitted: list[float] = []

        def answer(*_: object) -> Outcome:
            now_s = anyio.current_time()
            if sum(now_s - at_s < 1 for at_s in admitted) >= 10:
                return Outcome(403, body=BodyKind.PAGE)
            admitted.append(now_s)
            return GOOD

        (*ends, reason), _ = recognise(tmp_path / "out", PAGES, answer)
        assert reason is None
        assert all(isinstance(end, Record) for end in ends)

    def test_a_limiter_that_closes_connections_costs_no_call(self, tmp_path: Path) -> None:
        """More than four at a time are closed at once; no page fails, once five texts show how long one takes."""
        in_flight = 0

        class Limited(ScriptedClient):
            async def post(self, body: bytes) -> Outcome:
                nonlocal in_flight
                if in_flight >= 4:
                    return Outcome(fault=Fault.LOST, detail="connection lost", cut_off_s=0.001)
                in_flight += 1
                try:
                    return await super().post(body)
                finally:
                    in_flight -= 1

        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(recognise.__globals__, "ScriptedClient", Limited)
            (*ends, reason), client = recognise(tmp_path / "out", PAGES, lambda *_: GOOD, latency_s=0.1)
        assert reason is None
        assert all(isinstance(end, Record) for end in ends)
        assert client.calls == len(PAGES)


def test_a_paid_reply_that_cannot_be_understood_is_kept_beside_the_failure(tmp_path: Path) -> None:
    """Named by attempt, in the workspace; the message of the failure names the last one."""
    broken = Outcome(200, detail="the reply is not JSON", body=BodyKind.OTHER, kept=b"{half a text")
    (end, _), _ = recognise(tmp_path / "out", ["a"], lambda *_: broken)
    kept = sorted((tmp_path / "out" / "replies").iterdir())
    assert [path.name for path in kept] == ["o-000001.bin", "o-000002.bin", "o-000003.bin"]
    assert {path.read_bytes() for path in kept} == {b"{half a text"}
    assert str(end).endswith("HTTP 200: the reply is not JSON; its bytes are kept in replies/o-000003.bin")


def test_a_text_that_could_not_be_decoded_whole_is_recorded_and_its_bytes_are_kept(tmp_path: Path) -> None:
    reply = WireReply("doc", "te\ufffdt", 0, note="replaced", is_lossy=True)
    (end, _), _ = recognise(tmp_path / "out", ["a"], lambda *_: Outcome(200, reply=reply, kept=b"raw"))
    assert isinstance(end, Record)
    assert end.note == "replaced; its bytes are kept in replies/o-000001.bin"
    assert (tmp_path / "out" / "replies" / "o-000001.bin").read_bytes() == b"raw"


def test_calls_under_way_are_named_until_their_text_is_on_disk(tmp_path: Path) -> None:
    async def main() -> None:
        client, shutdown = ScriptedClient(lambda *_: GOOD, latency_s=5.0), Shutdown()
        async with open_attempts(tmp_path / "out", client, shutdown) as attempts, anyio.create_task_group() as tasks:
            tasks.start_soon(attempts.recognise_page, page("a.png"))
            await anyio.sleep(1)
            assert shutdown.describe_calls() == ["a.png page 1: the call may be billed and is lost (attempt o-000001)"]
        assert shutdown.describe_calls() == []

    run_virtual(main())

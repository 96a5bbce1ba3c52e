"""The attempts for one page: which calls use one up, how long retries wait, and when the run ends."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import msgspec
import pytest

from pipeline.batch.attempts import Attempts
from pipeline.batch.recorder import Page, Recorder
from pipeline.config import Config
from pipeline.errors import AttemptsExhaustedError, InterruptedRunError, PageError, QuotaExhaustedError, TemporaryError
from pipeline.ledger.budget import Budget
from pipeline.records import PageId, Payload, Record, SourceFile
from pipeline.remote.gate import Gate
from pipeline.remote.verdict import Fault, Outcome
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.wire import WireReply
from pipeline.workspace.index import Index
from pipeline.workspace.sink import open_sink
from tests.runs import results
from tests.virtual_time import run_virtual

if TYPE_CHECKING:
    from pipeline.remote.client import Client

GOOD = Outcome(200, reply=WireReply("doc", "text", 0, repaired=False))
BROKEN = Outcome(500, detail="oops")
UNREACHED = Outcome(fault=Fault.NOT_SENT, detail="cannot connect")

Answer = Callable[[str, int], Outcome]
"""The outcome of a call, by the page's name and the 1-based number of its call."""


class ScriptedClient:
    """Answers at once by a script, and notes when each page was sent."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.sent: dict[str, list[float]] = {}

    async def post(self, body: bytes) -> Outcome:
        """Answer one call; the body is the page's name."""
        times = self.sent.setdefault(body.decode(), [])
        times.append(anyio.current_time())
        return self._answer(body.decode(), len(times))


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
                budget=Budget(None, workspace_id="w", owner="o"),
                gate=Gate(),
                client=cast("Client", client),
                recorder=Recorder(sink, index, shutdown, max_failures=None),
                shutdown=shutdown,
                config=config,
                host="fake",
                jitter=lambda: 0.5,
            )


def recognise(workspace: Path, names: list[str], answer: Answer, **run: object) -> tuple[list[object], ScriptedClient]:
    """Recognise pages concurrently on virtual time; return the end of each, in order, and the client."""
    client = ScriptedClient(answer)
    ends: dict[str, object] = {}

    async def one(attempts: Attempts, name: str) -> None:
        try:
            ends[name] = await attempts.recognise_page(page(name))
        except TemporaryError as exc:
            ends[name] = exc

    async def main() -> None:
        async with open_attempts(workspace, client, Shutdown(), **run) as attempts, anyio.create_task_group() as pages:
            for name in names:
                pages.start_soon(one, attempts, name)

    run_virtual(main())
    return [ends[name] for name in names], client


def test_a_page_whose_attempts_fail_waits_longer_each_time_and_then_fails(tmp_path: Path) -> None:
    """Three calls, with half of one and half of two seconds between them."""
    (end,), client = recognise(tmp_path / "out", ["a"], lambda *_: BROKEN)
    assert isinstance(end, AttemptsExhaustedError)
    assert end.attempts == 3
    first, second, third = client.sent["a"]
    assert second - first == pytest.approx(0.5, abs=0.02)
    assert third - second == pytest.approx(1.0, abs=0.02)


def test_an_empty_retry_budget_delays_the_retries_of_all_pages_and_fails_none(tmp_path: Path) -> None:
    """Of forty pages that fail once, ten are retried at once, the others at two per second; all get their text."""
    names = [f"page-{number}" for number in range(40)]
    ends, client = recognise(tmp_path / "out", names, lambda _, number: BROKEN if number == 1 else GOOD)
    assert all(isinstance(end, Record) for end in ends)
    first_failure_s = min(times[0] for times in client.sent.values())
    retried = sorted(times[1] - first_failure_s for times in client.sent.values())
    paid_for = 10 + 40 / 10
    for after_s in (2.0, 4.0, 6.0):
        assert sum(moment_s <= after_s for moment_s in retried) <= paid_for + 2 * after_s
    assert len(results(tmp_path / "out")) == 40


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


def test_an_unreachable_api_ends_the_run(tmp_path: Path) -> None:
    """The run ends after three tries; no page has failed."""
    ends, client = recognise(tmp_path / "out", ["a", "b"], lambda *_: UNREACHED)
    assert any(isinstance(end, TemporaryError) for end in ends)
    assert not any(isinstance(end, PageError) for end in ends)
    assert max(map(len, client.sent.values())) == 3


def test_calls_that_were_not_sent_use_up_no_attempt(tmp_path: Path) -> None:
    """Refused connections, two 500s between them, then a text: three attempts may have been billed."""
    script = [UNREACHED, UNREACHED, BROKEN, UNREACHED, BROKEN, GOOD]
    (end,), client = recognise(tmp_path / "out", ["a"], lambda _, number: script[number - 1])
    assert isinstance(end, Record)
    assert len(client.sent["a"]) == 6


def test_a_quota_error_of_the_service_ends_the_run_and_names_the_months_end(tmp_path: Path) -> None:
    """By our calendar; the service does not name the day."""

    async def main() -> None:
        client, shutdown = ScriptedClient(lambda *_: Outcome(403, detail="Insufficient quota")), Shutdown()
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

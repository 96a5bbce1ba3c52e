"""Whole runs against a scripted server: what its replies and limits do to the page, the account and the run."""

from pathlib import Path

import pytest
from aiohttp import web

from pipeline.records import State
from tests.fakes import Call, accept, answer_error, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import failures, run_here


async def test_a_429_pauses_all_pages_and_uses_up_no_attempt(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 12)
    waited: list[float] = []

    def limit(call: Call) -> web.StreamResponse:
        if call.number == 4:
            waited.append(call.at_s)
            return web.json_response({"statusText": "slow down"}, status=429, headers={"retry-after-ms": "300"})
        return accept(call)

    async with serve_fake(limit) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 0, "jobs": 2})
        late = [call.at_s - waited[0] for call in fake.calls if call.at_s > waited[0]]
    assert summary.exit_code == 0
    assert summary.totals[State.DONE] == 12
    assert sum(1 for seconds in late if seconds < 0.3) <= 1, "only the call that was already in flight"


@pytest.mark.parametrize(
    ("script", "exit_code", "calls"),
    [
        pytest.param(answer_error(401, "Unauthorized"), 7, 1, id="bad-key"),
        pytest.param(answer_error(403, "not allowed"), 7, 1, id="no-permission"),
        pytest.param(answer_error(403, "Insufficient quota"), 8, 1, id="quota-by-403"),
        pytest.param(answer_error(429, "monthly quota exceeded"), 8, 1, id="quota-by-429"),
        pytest.param(answer_error(429, Retry_After="7200"), 8, 1, id="quota-by-retry-after"),
        pytest.param(answer_error(404, "nothing here"), 2, 1, id="wrong-url"),
    ],
)
async def test_a_reply_about_the_account_ends_the_run_and_fails_no_page(
    scans: Path, tmp_path: Path, script: object, exit_code: int, calls: int
) -> None:
    write_pages(scans, 9)
    async with serve_fake(script) as fake:  # type: ignore[arg-type]
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == calls
    assert summary.exit_code == exit_code
    assert summary.totals[State.DONE] == summary.totals[State.FAILED] == 0
    assert summary.calls == 0


async def test_the_monthly_quota_is_never_exceeded(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 10)
    async with serve_fake() as fake:
        first = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4})
        assert len(fake.calls) == 4
        second = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4})
        assert len(fake.calls) == 4
        third = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 30})
    assert [run_.exit_code for run_ in (first, second, third)] == [8, 8, 0]
    assert third.totals[State.DONE] == 10
    assert set(fake.billed.values()) == {1}


async def test_max_calls_ends_the_run(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 6)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_calls": 2})
        assert len(fake.calls) == 2
    assert (summary.exit_code, summary.totals[State.DONE]) == (10, 2)


async def test_a_500_is_retried_then_fails_the_page_until_the_next_run(scans: Path, tmp_path: Path) -> None:
    """Each attempt is charged."""
    write_page(scans / "a.png", 1)
    async with serve_fake(answer_error(500, "oops")) as fake:
        first = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 1})
        assert len(fake.calls) == 2
        fake.script = accept
        second = await run_here(scans, tmp_path / "out", fake.url)
    assert (first.exit_code, first.calls) == (3, 2)
    assert [(line["class"], line["attempts"], line["retryable"]) for line in failures(tmp_path / "out")] == [
        ("attempts-exhausted", 2, True)
    ]
    assert (second.exit_code, second.totals[State.DONE], second.totals[State.FAILED]) == (0, 1, 0)


async def test_a_rejected_page_is_not_sent_again_by_the_next_run(scans: Path, tmp_path: Path) -> None:
    """Only `retry` sends it again."""
    write_page(scans / "a.png", 1)
    async with serve_fake(answer_error(400, "bad image")) as fake:
        first = await run_here(scans, tmp_path / "out", fake.url)
        second = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 1
    assert (first.exit_code, second.exit_code) == (3, 3)
    assert len(failures(tmp_path / "out")) == 1


async def test_at_most_once_does_not_repeat_a_call_that_may_have_been_billed(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    async with serve_fake(answer_error(500, "oops")) as fake:
        for _ in range(2):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"at_most_once": True})
        assert len(fake.calls) == 1
    assert summary.totals[State.UNCERTAIN] == 1
    assert failures(tmp_path / "out")[0]["class"] == "uncertain"


async def test_an_unreachable_api_is_temporary(scans: Path, tmp_path: Path) -> None:
    """It costs no call, and no page fails."""
    write_pages(scans, 3)
    async with serve_fake() as fake:
        url = fake.url
    summary = await run_here(scans, tmp_path / "out", url, run={"retries": 0})
    assert (summary.exit_code, summary.calls, summary.totals[State.PENDING]) == (5, 0, 3)


async def test_too_many_failures_end_the_run(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 30)
    async with serve_fake(answer_error(400, "no")) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_failures": 3, "jobs": 1})
    assert (summary.exit_code, summary.totals[State.FAILED]) == (12, 4)

"""Whole runs against a scripted server: what its replies and limits do to the page, the account and the run."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.batch.summary import describe_summary
from pipeline.cli.status import show_status
from pipeline.records import State
from pipeline.remote.learned import describe_refusals
from pipeline.workspace.reader import read_records
from tests.fakes import Call, Reply, Script, accept, answer_error, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.runs import failures, results, run_here
from tests.virtual_time import on_virtual_time

CASES = Path(__file__).parent.parent / "cases"


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
        pytest.param(answer_error(302, Location="https://other.example/login"), 2, 1, id="redirect"),
        pytest.param(answer_error(402, "payment required"), 8, 1, id="quota-by-402"),
        pytest.param(answer_error(407), 7, 1, id="proxy-login"),
        pytest.param(answer_error(410), 7, 1, id="gone"),
        pytest.param(answer_error(423), 7, 3, id="locked"),
        pytest.param(answer_error(451), 7, 3, id="legal-block"),
        pytest.param(answer_error(503, Retry_After="7200"), 5, 1, id="down-for-hours"),
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
        for _ in range(3):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"at_most_once": True})
            assert (summary.exit_code, summary.totals[State.UNCERTAIN]) == (3, 1)
        assert len(fake.calls) == 1
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


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            answer_error(302, Location="https://other.example/login?key=secret"),
            "redirects to https://other.example (HTTP 302)",
        ),
        (answer_error(503, Retry_After="7200"), "come back in 2.0 h, at 20"),
        (answer_error(403, "Insufficient quota"), "calls left, so the tier is set too high"),
    ],
)
async def test_the_reason_says_where_when_or_what_to_set(
    scans: Path, tmp_path: Path, script: Script, words: str
) -> None:
    write_pages(scans, 2)
    async with serve_fake(script) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, budget={"tier": "free"})
    assert summary.reason is not None
    assert words in summary.reason
    assert "secret" not in summary.reason


@on_virtual_time
async def test_a_firewall_that_blocks_the_first_page_does_not_stop_the_run(scans: Path, tmp_path: Path) -> None:
    """It stopped every night with "denies this key"; that page fails, uncounted."""
    write_pages(scans, 20)

    def block(call: Call) -> web.StreamResponse:
        if call.filename == "page-0000.png":
            return web.Response(status=403, text="<html>Blocked by policy</html>", content_type="text/html")
        return accept(call)

    async with serve_fake(block) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert (summary.exit_code, summary.totals[State.DONE], summary.totals[State.FAILED]) == (3, 19, 1)
    assert summary.calls == 19
    (line,) = failures(tmp_path / "out")
    assert (line["class"], line["retryable"]) == ("blocked", True)


@on_virtual_time
async def test_a_bare_503_after_a_success_is_a_refusal(scans: Path, tmp_path: Path) -> None:
    """As of nginx's limit_req by default: void, and the page keeps its attempts."""
    write_pages(scans, 12)

    def limit(call: Call) -> web.StreamResponse:
        if call.number % 3 == 0:
            return web.Response(status=503, text="<html>503</html>", content_type="text/html")
        return accept(call)

    async with serve_fake(limit) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 0})
    assert (summary.exit_code, summary.totals[State.DONE], summary.calls) == (0, 12, 12)


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.glob("reply-*")))
async def test_a_paid_text_of_the_collected_cases_is_recorded(case: str, scans: Path, tmp_path: Path) -> None:
    """Each reply was paid three times and thrown away, or stored as U+FFFD."""
    replies = sorted((CASES / case).glob("*.json"))
    write_pages(scans, len(replies))
    charset = "GB18030" if "gb18030" in case else "utf-8"

    def answer(call: Call) -> web.StreamResponse:
        body = replies[call.number - 1].read_bytes()
        return web.Response(body=body, headers={"Content-Type": f"application/json; charset={charset}"})

    async with serve_fake(answer) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert (summary.exit_code, summary.calls) == (0, len(replies))
    assert {line["text"] for line in results(tmp_path / "out")} <= {"收据 编号 008365", "hello text"}
    assert list_faults(tmp_path / "out") == []
    assert len(list(read_records(tmp_path / "out"))) == len(replies)


async def test_a_paid_reply_that_cannot_be_understood_is_kept_without_the_key(scans: Path, tmp_path: Path) -> None:
    """Beside the failure, under the name of its attempt."""
    write_page(scans / "a.png", 1)
    body = '{"text":"第一行","payload":"https://llmocr.com/api/text-recognition?key=%s"}'

    async with serve_fake(lambda call: web.Response(text=body % call.key, content_type="application/json")) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 1})
    assert (summary.exit_code, summary.calls) == (3, 2)
    kept = sorted((tmp_path / "out" / "replies").iterdir())
    assert len(kept) == 2
    assert {path.read_text("utf-8") for path in kept} == {body % "***"}
    assert f"its bytes are kept in replies/{kept[-1].name}" in failures(tmp_path / "out")[0]["message"]
    assert list_faults(tmp_path / "out") == []


@on_virtual_time
async def test_run_json_and_status_keep_what_was_learned_of_the_limit(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pages(scans, 20)

    def limit(call: Call) -> Reply:
        return answer_error(429, Retry_After="5")(call) if call.number % 10 == 9 else accept(call)

    async with serve_fake(limit) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"rate_per_s": 2.0})
    assert (summary.sent, summary.refused, summary.calls) == (len(fake.calls), 2, 20)
    assert summary.learned.is_known
    assert describe_summary(summary).endswith(f"; {describe_refusals(summary.learned, 2, summary.sent)}")
    show_status(tmp_path / "out", as_json=True)
    status = json.loads(capsys.readouterr().out)
    assert [status[name] for name in ("sent", "refused", "calls")] == [summary.sent, 2, 20]
    assert status["learned"] == {**asdict(summary.learned), "windows": []}
    show_status(tmp_path / "out", as_json=False)
    assert f"limit      {describe_refusals(summary.learned, 2, summary.sent)}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "Open api daily request limit reached", r"calls of the day .*; the day ends on .* 00:00 UTC$", id="day"
        ),
        pytest.param("monthly quota exceeded", r"quota is used up .*; the month ends on .*-01 00:00 UTC$", id="month"),
    ],
)
async def test_a_used_up_quota_says_when_it_ends(scans: Path, tmp_path: Path, text: str, words: str) -> None:
    write_pages(scans, 3)
    async with serve_fake(answer_error(429, text)) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert summary.exit_code == 8
    assert summary.reason is not None
    assert re.search(words, summary.reason)
    assert summary.totals[State.PENDING] == 3


async def test_a_quota_per_minute_is_waited_for(scans: Path, tmp_path: Path) -> None:
    """Its words are those of a quota; the run ended with "the month ends on …"."""
    write_pages(scans, 4)

    def limit(call: Call) -> Reply:
        text = "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'"
        return answer_error(429, text)(call) if call.number == 2 else accept(call)

    async with serve_fake(limit) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert (summary.exit_code, summary.refused, summary.calls) == (0, 1, 4)


@pytest.mark.parametrize("status", [403, 420, 500, 502, 504, 509, 529])
async def test_nothing_is_sent_inside_a_retry_after_of_any_status_and_nothing_is_counted(
    scans: Path, tmp_path: Path, status: int
) -> None:
    write_pages(scans, 6)
    refused_s: list[float] = []

    def limit(call: Call) -> web.StreamResponse:
        if call.number != 3:
            return accept(call)
        refused_s.append(call.at_s)
        headers = {"retry-after-ms": "300"}
        return web.json_response({"statusText": "overloaded"}, status=status, headers=headers)

    async with serve_fake(limit) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 1, "retries": 0})
        late_s = [call.at_s - refused_s[0] for call in fake.calls[3:]]
    assert (summary.exit_code, summary.calls, summary.refused) == (0, 6, 1)
    assert min(late_s) >= 0.29

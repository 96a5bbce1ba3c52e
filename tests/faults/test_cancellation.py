"""Cancelling `pipeline.batch.runner.run` by asyncio's own means loses no paid text."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.ledger.attempt_state import AttemptState
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import read_run_file
from tests.fakes import Call, accept, serve_fake
from tests.faults.accounts import (
    check_every_page_once,
    check_ledger_covers,
    check_nothing_paid_again,
    check_nothing_vanished,
    note,
)
from tests.ledgers import read_attempt_states
from tests.pages import write_pages
from tests.runs import run_here

PAGES = 30
JOBS = 4


@pytest.mark.parametrize("at_call", [pytest.param(value, id=f"call-{value}") for value in (1, 2, 7, 20)])
async def test_the_next_run_finishes_a_cancelled_one(scans: Path, tmp_path: Path, at_call: int) -> None:
    """`Task.cancel` or `asyncio.wait_for`: only calls in flight are repeated, and the accounts add up."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    reached = asyncio.Event()

    async def answer(call: Call) -> web.Response:
        if call.number == at_call:
            reached.set()
        await asyncio.sleep(0)
        return accept(call)

    async with serve_fake(answer) as fake:
        task = asyncio.create_task(run_here(scans, out, fake.url, run={"jobs": JOBS}))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        noted = note(out, fake.calls)
        check_ledger_covers(tmp_path / "ledger", fake.billed)
        summary = await run_here(scans, out, fake.url, run={"jobs": JOBS})
        calls, billed = list(fake.calls), fake.billed
    assert summary.exit_code == 0
    check_nothing_vanished(noted, out)
    check_nothing_paid_again(noted, calls)
    check_every_page_once(out, PAGES)
    check_ledger_covers(tmp_path / "ledger", billed)
    assert sum(Counter(call.digest for call in calls).values()) - PAGES <= JOBS
    run_file = read_run_file(out)
    assert run_file is not None
    assert run_file.ledger is not None
    assert list(audit(out, run_file)) == []
    states = Counter(read_attempt_states(Path(run_file.ledger), run_file.workspace_id).values())
    assert states[AttemptState.ACCEPTED] == PAGES
    assert states[AttemptState.PENDING] == 0
    assert states[AttemptState.UNKNOWN] <= JOBS

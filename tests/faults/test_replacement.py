"""People and tools replace results.jsonl while a run goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.errors import StorageError
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import require_workspace
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_pages
from tests.runs import results, run_here
from tests.workspace.test_replacement import copy_and_truncate, move, remove, replace_like_sed, rotate

PAGES = 12


@pytest.mark.parametrize(
    ("interfere", "repeated"),
    [
        pytest.param(replace_like_sed, 0, id="sed"),
        pytest.param(move, 0, id="mv"),
        pytest.param(remove, 0, id="rm"),
        pytest.param(rotate, 0, id="logrotate"),
        pytest.param(copy_and_truncate, 5, id="copytruncate"),
    ],
)
async def test_a_replaced_results_file_stops_the_run_and_loses_no_paid_text(
    scans: Path, tmp_path: Path, interfere: Callable[[Path], object], repeated: int
) -> None:
    """The next run puts the lines back. copytruncate alone takes them to a file that no run knows: the run stops."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"

    def answer(call: Call) -> web.StreamResponse:
        if call.number == 6:
            interfere(out / "results.jsonl")
        return accept(call)

    async with serve_fake(answer) as fake:
        first = await run_here(scans, out, fake.url, run={"jobs": 1})
        calls = len(fake.calls)
        if repeated:
            with pytest.raises(StorageError, match=f" {repeated} texts"):
                await run_here(scans, out, fake.url, run={"jobs": 1})
        second = await run_here(scans, out, fake.url, run={"jobs": 1}, pay_again=repeated > 0)
    assert (first.exit_code, calls) == (1, 6)
    assert "while the run appended to it" in (first.reason or "")
    assert second.exit_code == 0
    assert len({line["id"] for line in results(out)}) == PAGES
    assert sum(fake.billed.values()) == PAGES + repeated
    assert list(audit(out, require_workspace(out))) == []

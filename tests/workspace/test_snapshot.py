"""The index as it is now, for commands that change nothing: all lines read, or for many pages, those committed."""

from pathlib import Path

import pytest

from pipeline.records import State
from pipeline.workspace import snapshot
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.snapshot import open_snapshot
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import run_here


@pytest.mark.parametrize(
    ("copies_large", "large_bytes", "done"),
    [
        pytest.param(True, 0, 3, id="copied-and-read-on"),
        pytest.param(False, 0, 2, id="large-and-as-committed"),
        pytest.param(False, 1 << 30, 3, id="small"),
    ],
)
async def test_a_large_index_is_not_copied_for_a_status(  # noqa: PLR0917 - the columns of the table
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    copies_large: bool,  # noqa: FBT001
    large_bytes: int,
    done: int,
) -> None:
    monkeypatch.setattr(snapshot, "_LARGE_BYTES", large_bytes)
    write_pages(scans, 2)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        write_pages(tmp_path / "more", 1, first_seed=9)
        await run_here(tmp_path / "more", tmp_path / "other", fake.url)
    with (out / RESULTS).open("ab") as file:  # a line that the index has not read
        file.write((tmp_path / "other" / RESULTS).read_bytes())
    with open_snapshot(out, copies_large=copies_large) as index:
        assert index.count_pages().totals[State.DONE] == done

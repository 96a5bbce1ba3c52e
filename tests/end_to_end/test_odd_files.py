"""An archive of odd files through a whole run: each page ends in the state that its manifest says."""

from pathlib import Path

import pytest

from pipeline.records import State
from tests.fakes import serve_fake
from tests.faults.accounts import list_faults
from tests.odd_files import odd_files
from tests.runs import failures, results, run_here

SENT = {"png", "jpeg", "gif", "webp"}


@pytest.mark.parametrize("has_suffixes", [True, False], ids=["named", "without-suffixes"])
async def test_each_page_of_an_archive_of_odd_files_ends_in_its_state(
    scans: Path,
    tmp_path: Path,
    has_suffixes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Without suffixes, what is no image is no page."""
    expected: dict[tuple[str, int], str] = {}
    no_pages = 0
    for name, odd in odd_files().items():
        source = name if has_suffixes else name.replace(".", " ")
        (scans / source).write_bytes(odd.data)
        if not has_suffixes and odd.pages[0] in {"not-an-image", "empty"}:
            no_pages += 1
        else:
            expected |= {(source, number): state for number, state in enumerate(odd.pages, 1)}
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": False})
        calls = len(fake.calls)
        again = await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": False})
        assert len(fake.calls) == calls
    ended = {(line["source"], line["page"]): line["prep"]["format"] for line in results(tmp_path / "out")}
    ended |= {(line["source"], line["page"]): line["class"] for line in failures(tmp_path / "out")}
    assert ended == expected
    assert summary.totals[State.DONE] == calls == sum(state in SENT for state in expected.values())
    assert (summary.exit_code, again.exit_code) == (3, 3)
    assert sum(summary.ignored.values()) == no_pages
    assert list_faults(tmp_path / "out") == []

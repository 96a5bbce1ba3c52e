"""Rows of a manifest that name one page: a record for each set of fields, one call, whatever the number of jobs."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from PIL import Image

from pipeline.batch.dispatcher import Dispatcher
from pipeline.records import State
from tests.fakes import accept, answer_error, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page
from tests.runs import failures, results, run_command, run_here

CASES = Path(__file__).parents[1] / "cases"


def write_manifest(scans: Path, *rows: tuple[str, dict[str, Any]]) -> Path:
    """Write JSON lines of (path, further fields)."""
    path = scans / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"path": name, **meta}) + b"\n" for name, meta in rows))
    return path


def records(workspace: Path) -> list[tuple[str, str | None, Any]]:
    """Return source, original and fields of each record."""
    return [(line["source"], line["duplicate_of"], line.get("meta")) for line in results(workspace)]


@pytest.mark.parametrize("jobs", [1, 2, 8])
async def test_each_set_of_fields_is_a_record_and_the_first_row_makes_the_call(
    scans: Path, tmp_path: Path, jobs: int
) -> None:
    """The same records in the same order for any `-j`; rows that say the same are one record."""
    write_page(scans / "a.png", 1)
    books: list[dict[str, Any]] = [
        {"book": "A"},
        {"book": "B"},
        {"book": "A"},
        {},
        {"book": "C", "n": None},
        {"book": "B"},
    ]
    manifest = write_manifest(scans, *(("a.png", book) for book in books))
    async with serve_fake() as fake:
        for _ in range(2):
            summary = await run_here(manifest, tmp_path / "out", fake.url, run={"jobs": jobs})
        assert len(fake.calls) == 1
    assert records(tmp_path / "out") == [
        ("a.png", None, {"book": "A"}),
        ("a.png", "a.png", {"book": "B"}),
        ("a.png", "a.png", {"book": "C", "n": None}),
    ]
    assert len({line["text"] for line in results(tmp_path / "out")}) == 1
    assert (summary.exit_code, summary.totals[State.DONE], summary.pages) == (0, 1, 1)
    assert list_faults(tmp_path / "out") == []


async def test_rows_that_are_not_dispatched_in_turn_repeat_records(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    write_page(scans / "a.png", 1)
    manifest = write_manifest(scans, *[("a.png", {"book": "A"})] * 8)
    in_turn: Any = Dispatcher._dispatch_in_turn

    async def at_once(dispatcher: Dispatcher, *arguments: Any) -> None:
        walk, file, slot, _, ended = arguments
        await in_turn(dispatcher, walk, file, slot, None, ended)

    monkeypatch.setattr(Dispatcher, "_dispatch_in_turn", at_once)
    async with serve_fake() as fake:
        await run_here(manifest, tmp_path / "out", fake.url)
    assert len(records(tmp_path / "out")) > 1


async def test_the_new_records_of_a_page_are_not_new_pages(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    manifest = write_manifest(scans, ("a.png", {"n": 1}), ("a.png", {"n": 2}))
    async with serve_fake() as fake:
        summary = await run_here(manifest, tmp_path / "out", fake.url)
    assert (summary.run, summary.totals[State.DONE]) == ({State.DONE: 1}, 1)


async def test_fields_that_come_later_are_recorded_without_a_call(scans: Path, tmp_path: Path) -> None:
    """After a run over the folder, and when the manifest gets a row; a second run adds nothing."""
    write_page(scans / "a.png", 1)
    write_page(scans / "b.png", 2)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url, input={"include": ["*.png"]})
        for rows in (["A"], ["A", "B"], ["B", "A"]):
            manifest = write_manifest(scans, *(("a.png", {"book": book}) for book in rows))
            summary = await run_here(manifest, tmp_path / "out", fake.url)
            assert (summary.exit_code, summary.calls) == (0, 0)
        assert len(fake.calls) == 2
    assert records(tmp_path / "out")[2:] == [("a.png", "a.png", {"book": "A"}), ("a.png", "a.png", {"book": "B"})]
    assert list_faults(tmp_path / "out") == []


@pytest.mark.parametrize("settings", [{"input": {"changed_by": "sha256"}}, {"prepare": {"dedup": "off"}}], ids=repr)
async def test_fields_are_recorded_once_under_other_settings(
    scans: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    write_page(scans / "a.png", 1)
    manifest = write_manifest(scans, *(("a.png", {"book": book}) for book in "ABA"))
    async with serve_fake() as fake:
        for _ in range(2):
            await run_here(manifest, tmp_path / "out", fake.url, **settings)
        assert len(fake.calls) == 1
    assert [meta for _, _, meta in records(tmp_path / "out")] == [{"book": "A"}, {"book": "B"}]


async def test_fields_survive_a_lost_index(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    manifest = write_manifest(scans, *(("a.png", {"book": book}) for book in "AB"))
    async with serve_fake() as fake:
        await run_here(manifest, tmp_path / "out", fake.url)
        (tmp_path / "out" / "index.sqlite3").unlink()
        await run_here(manifest, tmp_path / "out", fake.url)
        assert len(fake.calls) == 1
    assert len(records(tmp_path / "out")) == 2


async def test_every_page_of_a_book_gets_the_fields(scans: Path, tmp_path: Path) -> None:
    frames = [Image.new("L", (120, 120), shade) for shade in (10, 200)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    manifest = write_manifest(scans, ("book.tif", {"n": 1}), ("book.tif", {"n": 2}))
    async with serve_fake() as fake:
        await run_here(manifest, tmp_path / "out", fake.url)
        assert len(fake.calls) == 2
    assert [(line["page"], line["meta"]["n"]) for line in results(tmp_path / "out")] == [(1, 1), (2, 1), (1, 2), (2, 2)]


async def test_copies_keep_their_original_in_every_record(scans: Path, tmp_path: Path) -> None:
    shutil.copy(write_page(scans / "a.png", 1), scans / "b.png")
    manifest = write_manifest(scans, ("a.png", {"n": 1}), ("b.png", {"n": 2}), ("b.png", {"n": 3}))
    async with serve_fake() as fake:
        summary = await run_here(manifest, tmp_path / "out", fake.url, run={"jobs": 1})
        assert len(fake.calls) == 1
    assert records(tmp_path / "out") == [
        ("a.png", None, {"n": 1}),
        ("b.png", "a.png", {"n": 2}),
        ("b.png", "a.png", {"n": 3}),
    ]
    assert (summary.totals[State.DONE], summary.totals[State.DUPLICATE]) == (1, 1)
    assert list_faults(tmp_path / "out") == []


@pytest.mark.parametrize("jobs", [1, 8])
@pytest.mark.parametrize(("status", "calls"), [(400, 1), (500, 3)], ids=["rejected", "attempts-exhausted"])
async def test_a_page_that_fails_is_tried_once_whatever_names_it_again(
    scans: Path, tmp_path: Path, jobs: int, status: int, calls: int
) -> None:
    """Each further row, or INPUT, would pay for three more attempts."""
    write_page(scans / "a.png", 1)
    write_page(scans / "b.png", 2)
    manifest = write_manifest(scans, *(("a.png", {"n": n}) for n in range(4)))

    async with serve_fake() as fake:
        fake.script = lambda call: accept(call) if call.filename == "b.png" else answer_error(status, "no")(call)
        inputs = [scans / "b.png", manifest, scans / "a.png"]
        summary = await run_here(inputs, tmp_path / "out", fake.url, run={"jobs": jobs})
        assert [call.filename for call in fake.calls].count("a.png") == calls
    assert (summary.exit_code, summary.totals[State.FAILED]) == (3, 1)
    assert [line["meta"] for line in failures(tmp_path / "out")] == [{"n": 0}]


async def test_many_rows_of_one_page_leave_slots_for_other_pages(scans: Path, tmp_path: Path) -> None:
    """They wait without a slot."""
    for seed in range(4):
        write_page(scans / f"{seed}.png", seed)
    manifest = write_manifest(scans, *[("0.png", {"n": n}) for n in range(20)], *[(f"{n}.png", {}) for n in range(4)])
    async with serve_fake() as fake:
        others = asyncio.Event()

        async def answer(call: Any) -> Any:
            if call.filename == "0.png" and call.number > 1:
                await others.wait()
            if {call.filename for call in fake.calls} >= {"1.png", "2.png", "3.png"}:
                others.set()
            return accept(call)

        fake.script = answer
        with anyio.fail_after(30):
            summary = await run_here(manifest, tmp_path / "out", fake.url, run={"jobs": 2})
        assert len(fake.calls) == 4
    assert summary.totals[State.DONE] == 4
    assert len(results(tmp_path / "out")) == 23


@pytest.mark.parametrize(
    ("case", "name", "expected"),
    [
        pytest.param("manifest-blank-row-csv", "x.csv", [{"t": "1"}], id="blank-row"),
        pytest.param("manifest-duplicate-rows", "x.csv", [{"book": book} for book in "ABC"], id="duplicate-rows"),
        pytest.param("manifest-hf-file_name", "metadata.csv", [{"text": "A"}], id="hugging-face-csv"),
        pytest.param("manifest-hf-file_name", "metadata.jsonl", [None], id="hugging-face-jsonl"),
        pytest.param("manifest-nan-jsonl", "x.jsonl", [{"score": None}], id="nan"),
        pytest.param("manifest-space-after-comma", "x.csv", [{"id": "1"}], id="space-after-comma"),
    ],
)
async def test_manifests_that_failed_are_read(case: str, name: str, expected: list[Any], tmp_path: Path) -> None:
    """From public bug reports."""
    async with serve_fake() as fake:
        summary = await run_here(CASES / case / name, tmp_path / "out", fake.url)
    assert summary.exit_code == 0
    assert [meta for _, _, meta in records(tmp_path / "out")] == expected


async def test_the_column_flag_names_the_page(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    (scans / "list.csv").write_text("path,scan\nshelf 7,a.png\n")
    async with serve_fake() as fake:
        flags = ("-o", tmp_path / "out", "--api-url", fake.url)
        done = await run_command("run", scans / "list.csv", *flags, "--column", "scan")
        wrong = await run_command("run", scans / "list.csv", *flags, "--column", "folio")
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "out") == [("a.png", None, {"path": "shelf 7"})]
    assert (wrong.returncode, b"no column folio" in wrong.stderr) == (2, True)

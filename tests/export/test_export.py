"""`pagemill export`: what is written, and what a second export writes."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pipeline.cli.correct import reseal_workspace
from pipeline.errors import StorageError, UsageError
from pipeline.export import destination
from pipeline.export.base import ExportJob
from pipeline.export.destination import open_destination
from pipeline.export.formats import FORMATS
from pipeline.export.selection import Split, Where
from pipeline.export.table import COLUMNS
from pipeline.positions import TextLine
from pipeline.verify.audit import count_pages
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import require_workspace, write_run_file
from tests.export.workspaces import put_records, run_export, tree
from tests.factories import DOUBT, QUALITY, RECORD, make_failure, make_record
from tests.runs import COMMAND


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Three documents: a picture, a TIFF of two pages, and a copy of the picture in a folder."""
    return put_records(
        tmp_path / "out",
        [
            make_record("letters/a.png", 1, text="first\nletter"),
            make_record("book.tif", 3, page=2, text="page two"),
            make_record("book.tif", 2, page=1, text="page one\n"),
            make_record("copies/a.png", 1, text="first\nletter", duplicate_of="letters/a.png"),
        ],
    )


def change_line(workspace: Path) -> None:
    """Change a text as another program would that keeps the file's size and time."""
    results = workspace / "results.jsonl"
    stat = results.stat()
    results.write_bytes(results.read_bytes().replace(b"page two", b"page 222"))
    os.utime(results, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_text_files_mirror_the_input_with_pages_in_order(workspace: Path, tmp_path: Path) -> None:
    exported = run_export("txt", ExportJob(workspace, tmp_path / "txt"))
    assert (exported.documents, exported.pages, exported.written) == (3, 4, 3)
    assert tree(tmp_path / "txt") == {
        "book.tif.txt": "page one\n\f\npage two\n",
        "copies/a.png.txt": "first\nletter\n",
        "letters/a.png.txt": "first\nletter\n",
    }


def test_a_file_per_page_has_its_number(workspace: Path, tmp_path: Path) -> None:
    run_export("txt", ExportJob(workspace, tmp_path / "txt", per_page=True, where=Where.parse(["state=done"])))
    assert tree(tmp_path / "txt") == {
        "book.tif.0001.txt": "page one\n",
        "book.tif.0002.txt": "page two\n",
        "letters/a.png.txt": "first\nletter\n",
    }


def test_a_second_export_writes_what_is_new_or_changed(workspace: Path, tmp_path: Path) -> None:
    job = ExportJob(workspace, tmp_path / "txt")
    run_export("txt", job)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "txt").rglob("*.txt")}
    put_records(workspace, [make_record("new.png", 9), make_record("book.tif", 3, page=2, text="corrected", added=5)])
    exported = run_export("txt", job)
    assert (exported.written, exported.unchanged, exported.removed) == (2, 2, 0)
    assert tree(tmp_path / "txt")["book.tif.txt"] == "page one\n\f\ncorrected\n"
    letter = tmp_path / "txt" / "letters/a.png.txt"
    assert letter.stat().st_mtime_ns == before[letter]


def test_what_is_no_longer_taken_is_removed_and_what_was_deleted_is_written_again(
    workspace: Path, tmp_path: Path
) -> None:
    run_export("txt", ExportJob(workspace, tmp_path / "txt"))
    (tmp_path / "txt/letters/a.png.txt").unlink()
    (tmp_path / "txt/copies/own notes.txt").write_text("mine")
    exported = run_export("txt", ExportJob(workspace, tmp_path / "txt", where=Where.parse(["source!=copies/*"])))
    assert exported.removed == 1
    assert sorted(tree(tmp_path / "txt")) == ["book.tif.txt", "copies/own notes.txt", "letters/a.png.txt"]


def test_names_that_would_be_one_file_stay_apart(tmp_path: Path) -> None:
    workspace = put_records(tmp_path / "out", [make_record("/a.png", 1), make_record("a.png", 2)])
    run_export("txt", ExportJob(workspace, tmp_path / "txt"))
    run_export("txt", ExportJob(workspace, tmp_path / "txt"))
    assert sorted(tree(tmp_path / "txt").values()) == ["text 1\n", "text 2\n"]


def test_a_folder_of_others_is_not_touched(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").write_text("x")
    with pytest.raises(UsageError, match="not empty, and not an export"):
        run_export("txt", ExportJob(workspace, tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["x"]


def test_equal_contents_are_in_the_same_split(tmp_path: Path) -> None:
    records = [make_record(f"{name}/{number}.png", number) for name in ("one", "two") for number in range(40)]
    workspace = put_records(tmp_path / "out", records)
    run_export("txt", ExportJob(workspace, tmp_path / "txt", split=Split.parse("train=0.5,test=0.5", 3)))
    files = {path.removesuffix(".txt").split("/", 1)[1]: path.split("/")[0] for path in tree(tmp_path / "txt")}
    assert set(files.values()) == {"train", "test"}
    assert all(files[f"one/{number}.png"] == files[f"two/{number}.png"] for number in range(40))


def test_a_line_that_another_program_changed_is_counted(workspace: Path, tmp_path: Path) -> None:
    run_export("txt", ExportJob(workspace, tmp_path / "first"))
    change_line(workspace)
    exported = run_export("txt", ExportJob(workspace, tmp_path / "second"))
    assert (exported.pages, exported.unreadable) == (3, 1)
    assert "page 222" not in "".join(tree(tmp_path / "second").values())


@pytest.mark.parametrize("form", ["txt", "dolma", "csv"])
def test_a_document_whose_record_cannot_be_read_has_no_file(tmp_path: Path, form: str) -> None:
    """An empty text would be taken for that of a page without any."""
    workspace = put_records(tmp_path / "out", [make_record("a.png", 1), make_record("b.png", 2, text="page two")])
    with Index.open(workspace):
        pass
    change_line(workspace)
    job = ExportJob(workspace, tmp_path / "to")
    for _ in range(2):
        exported = run_export(form, job)
        assert (exported.pages, exported.unreadable) == (1, 1)
    if form == "txt":
        assert tree(tmp_path / "to") == {"a.png.txt": "text 1\n"}


@pytest.mark.parametrize("form", ["txt", "parquet"])
def test_an_edited_text_that_was_accepted_is_exported_again(workspace: Path, tmp_path: Path, form: str) -> None:
    job = ExportJob(workspace, tmp_path / form)
    assert run_export(form, job).written > 0
    change_line(workspace)
    assert reseal_workspace(workspace) == 0
    exported = run_export(form, job)
    assert (exported.unchanged, exported.unreadable) == (0, 0)
    if form == "txt":
        assert tree(tmp_path / form)["book.tif.txt"] == "page one\n\f\npage 222\n"
    assert run_export(form, job).written == 0


def test_csv_has_a_row_per_page_that_reads_back(workspace: Path, tmp_path: Path) -> None:
    put_records(workspace, [replace(RECORD, text='quotes " commas, and\nlines\0', meta={"shelf": "Ä 1"})])
    run_export("csv", ExportJob(workspace, tmp_path / "pages.csv"))
    with (tmp_path / "pages.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [
        "book.tif", "book.tif", "copies/a.png", RECORD.source, "letters/a.png",
    ]  # fmt: skip
    assert tuple(rows[0]) == COLUMNS
    assert [row["text"] for row in rows[:2]] == ["page one\n", "page two"]
    assert rows[3]["text"] == 'quotes " commas, and\nlines\0'
    assert json.loads(rows[3]["meta"]) == {"shelf": "Ä 1"}
    assert rows[2]["duplicate_of"] == "letters/a.png"


def test_the_command_prints_what_was_written(workspace: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "export",
        str(workspace),
        "--to",
        "txt",
        str(tmp_path / "txt"),
        "--json",
    ]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found == {
        "exit_code": 0, "format": "txt", "documents": 3, "pages": 4, "written": 3, "unchanged": 0, "removed": 0,
        "unreadable": 0, "missing": 0, "without_positions": 0, "pending": 0, "failed": 0, "uncertain": 0,
        "pending_is_at_least": False,
    }  # fmt: skip
    again = subprocess.run(command[:-1], check=True, capture_output=True, text=True)
    assert "4 pages of 3 documents: 0 files written, 3 unchanged" in again.stderr


@pytest.mark.parametrize("form", FORMATS)
def test_pages_without_a_text_are_counted_in_every_format(form: str, tmp_path: Path) -> None:
    placed = replace(make_record("a.png", 1), lines=(TextLine("text 1", (20, 20, 110, 20, 110, 50, 20, 50)),))
    workspace = put_records(tmp_path / "out", [placed], root=tmp_path)
    failures = [make_failure("b.png", 2), make_failure("c.png", 3), make_failure("d.png", 4, error="uncertain")]
    (workspace / "failures.jsonl").write_bytes(b"".join(map(encode_failure, failures)))
    for _ in range(2):
        exported = run_export(form, ExportJob(workspace, tmp_path / "to", where=Where.parse(["source=a*"])))
        assert (exported.pages, exported.pending, exported.failed, exported.uncertain) == (1, 0, 2, 1)


def test_the_command_says_what_is_not_exported(workspace: Path, tmp_path: Path) -> None:
    """Of a run that has stopped half-way: it has not listed all files."""
    (workspace / "failures.jsonl").write_bytes(encode_failure(make_failure("b.png", 2)))
    with Index.open(workspace) as index:
        index.inventory.mark_pending(["late.png"])
        index.commit()
    write_run_file(workspace, msgspec.structs.replace(require_workspace(workspace), pending_is_at_least=True))
    command = [*COMMAND, "export", str(workspace), "--to", "txt", str(tmp_path / "txt")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"not exported: at least 1 pages pending, 1 pages failed; see: pagemill status {workspace}" in done.stderr
    as_json = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    found = json.loads(as_json.stdout)
    assert (found["pending"], found["failed"], found["pending_is_at_least"]) == (1, 1, True)
    assert "not exported: at least 1 pages pending" in as_json.stderr


def test_a_document_without_a_page_that_is_taken_is_not_written(workspace: Path, tmp_path: Path) -> None:
    put_records(workspace, [make_record("good.png", 7, quality=QUALITY), make_record("doubtful.png", 8, quality=DOUBT)])
    exported = run_export("txt", ExportJob(workspace, tmp_path / "txt", where=Where.parse(["quality>=0.8"])))
    assert list(tree(tmp_path / "txt")) == ["good.png.txt"]
    assert (exported.documents, exported.pages) == (1, 1)


@pytest.mark.parametrize("form", ["csv", "sqlite"])
def test_a_file_of_others_is_not_replaced(workspace: Path, tmp_path: Path, form: str) -> None:
    mine = workspace / "results.jsonl"
    before = mine.read_bytes()
    with pytest.raises(UsageError, match="not an export of this format"):
        run_export(form, ExportJob(workspace, mine))
    assert mine.read_bytes() == before


def test_one_export_at_a_time_writes_a_folder(workspace: Path, tmp_path: Path) -> None:
    """Both would write through the same temporary file."""
    with open_destination(tmp_path / "txt", "txt", lambda: 0) as opened:
        opened.commit()
        with pytest.raises(StorageError, match="locked"):
            run_export("txt", ExportJob(workspace, tmp_path / "txt"))


def test_an_export_without_some_pages_exits_with_3(workspace: Path, tmp_path: Path) -> None:
    run_export("txt", ExportJob(workspace, tmp_path / "first"))
    change_line(workspace)
    command = [sys.executable, "-m", "pipeline", "export", str(workspace), "--to", "txt", str(tmp_path / "txt")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert "1 lines unreadable (pagemill verify)" in done.stderr


def test_a_damaged_line_is_counted_by_every_export(workspace: Path, tmp_path: Path) -> None:
    """The index of the last run has skipped it; `verify` names it."""
    with (workspace / "results.jsonl").open("ab") as file:
        file.write(bytes(40) + b"\n" + b'{"id": "torn\n')
    put_records(workspace, [make_record("late.png", 9)])
    with Index.open(workspace) as index:
        assert len(index.damaged) == 2
    assert count_pages(workspace).unreadable == 2
    for form in ("txt", "csv", "parquet"):
        for _ in range(2):
            exported = run_export(form, ExportJob(workspace, tmp_path / f"to.{form}"))
            assert (exported.unreadable, exported.pages) == (2, 5)


def test_files_of_an_earlier_writer_are_written_again(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("txt", "dolma"):
        job = ExportJob(workspace, tmp_path / form)
        written = run_export(form, job).written
        monkeypatch.setitem(destination.WRITERS, form, 1_000)
        assert run_export(form, job).written == written
        assert run_export(form, job).written == 0


@pytest.mark.parametrize("system_call", ["rename", "sync"])
@pytest.mark.parametrize("form", ["txt", "parquet"])
def test_what_a_killed_export_left_is_written_again_or_removed(
    workspace: Path, tmp_path: Path, form: str, system_call: str
) -> None:
    """Also by an export that takes other pages; it is killed at its first file, or when it has written all."""
    to = tmp_path / "to"
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={system_call}:signal=KILL:when=1"]
    command = [sys.executable, "-m", "pipeline", "export", str(workspace), "--to", form, str(to)]
    assert subprocess.run([*strace, *command], check=False).returncode == -signal.SIGKILL
    job = ExportJob(workspace, to, where=Where.parse(["source=letters/*"]), split=Split.parse("test=1", 0))
    run_export(form, job)
    files = [path.name for path in to.rglob("*") if path.is_file() and not path.name.startswith(".pagemill-export")]
    assert files == (["a.png.txt"] if form == "txt" else ["test-00000.parquet"])


def test_a_unit_that_failed_half_way_is_written_again_whatever_was_taken_between(tmp_path: Path) -> None:
    with open_destination(tmp_path, "txt", lambda: 0) as opened:
        opened.put(b"a", b"1", [("a.1", [b"one"]), ("a.2", [b"one"])])
    with pytest.raises(StorageError), open_destination(tmp_path, "txt", lambda: 0) as opened:
        opened.put(b"b", b"1", [("b.1", [b"one"]), ("a.1/no folder", [b""])])
    with pytest.raises(StorageError), open_destination(tmp_path, "txt", lambda: 0) as opened:
        opened.put(b"a", b"2", [("a.1", [b"two"]), ("a.1/no folder", [b""])])
    with open_destination(tmp_path, "txt", lambda: 0) as opened:
        assert not opened.is_current(b"a", b"1")
        opened.put(b"a", b"1", [("a.1", [b"one"]), ("a.2", [b"one"])])
        opened.remove_others()
    assert tree(tmp_path) == {"a.1": "one", "a.2": "one"}


def test_every_format_of_a_folder_has_a_version() -> None:
    assert {*destination.WRITERS, "csv", "sqlite"} == set(FORMATS)


@pytest.mark.parametrize(
    ("form", "option", "formats"),
    [
        pytest.param("alto", ["--per", "page"], "txt", id="per"),
        pytest.param("csv", ["--per", "document"], "txt", id="per-as-is-the-default"),
        pytest.param("txt", ["--images", "sent"], "parquet, hf, webdataset, pdf", id="images"),
        pytest.param("dolma", ["--images", "none"], "parquet, hf, webdataset, pdf", id="no-images"),
        pytest.param("parquet", ["--license", "cc0-1.0"], "hf", id="license"),
    ],
)
def test_an_option_that_a_format_has_not_is_refused(
    workspace: Path, tmp_path: Path, form: str, option: list[str], formats: str
) -> None:
    command = [sys.executable, "-m", "pipeline", "export", str(workspace), "--to", form, str(tmp_path / "to"), *option]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{option[0]}: {form} has no such option; these formats have: {formats}" in done.stderr
    assert not (tmp_path / "to").exists()


def test_an_export_that_changes_no_file_waits_for_no_disk(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[None] = []
    monkeypatch.setattr(os, "sync", lambda: syncs.append(None))
    run_export("txt", ExportJob(workspace, tmp_path / "txt"))
    assert syncs
    syncs.clear()
    assert run_export("txt", ExportJob(workspace, tmp_path / "txt")).unchanged == 3
    assert not syncs
    run_export("txt", ExportJob(workspace, tmp_path / "txt", where=Where.parse(["source=book*"])))
    assert syncs

"""Which files are gone: by the directories, each listed once."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.records import FileStat, SourceFile
from pipeline.workspace.index import Index
from pipeline.workspace.inventory import FileState


def add(index: Index, path: Path) -> SourceFile:
    """Write a file and record that its page has ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    stat = path.stat()
    file = SourceFile(path.name, path, FileStat(stat.st_size, stat.st_mtime_ns))
    index.add_file(file, 1)
    return file


def test_gone_files_are_those_that_no_directory_lists(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    with closing(Index.open(tmp_path)) as index:
        for name in ("a", "a.b/c", "a/b/c", "a/b.x", "scans2"):
            add(index, scans / f"{name}.png")
        add(index, tmp_path / "scans-other" / "z.png").path.unlink()  # type: ignore[union-attr]
        (scans / "a.b/c.png").unlink()
        (scans / "a/b/c.png").unlink()
        (scans / "a/b").rmdir()
        gone = list(index.inventory.gone_files(str(scans)))
        assert gone == [os.fsencode(scans / name) for name in ("a.b/c.png", "a/b/c.png")]
        assert index.inventory.count_files(str(scans)) == 5
        index.inventory.forget_files(gone)
        assert index.inventory.count_files(str(scans)) == 3
        assert list(index.inventory.gone_files(str(scans))) == []


def test_a_directory_that_cannot_be_listed_has_no_gone_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> list[bytes]:
        raise PermissionError

    with closing(Index.open(tmp_path)) as index:
        add(index, tmp_path / "scans" / "a.png")
        monkeypatch.setattr(os, "listdir", refuse)
        assert list(index.inventory.gone_files(str(tmp_path / "scans"))) == []


def test_the_state_of_a_file(tmp_path: Path) -> None:
    with closing(Index.open(tmp_path)) as index:
        file = add(index, tmp_path / "a.png")
        changed = SourceFile(file.name, file.path, FileStat(2, 3))
        missing = SourceFile("b", tmp_path / "b")
        url = SourceFile("https://h/a.png", None)
        states = [index.inventory.file_state(each) for each in (file, changed, missing, url)]
        assert states == [FileState.UNMODIFIED, FileState.CHANGED, FileState.NEW, FileState.NEW]

"""Another program replaces, moves, removes or truncates results.jsonl while a run appends to it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.workspace import jsonl_file
from pipeline.workspace.jsonl_file import JsonlFile, SyncedFile
from pipeline.workspace.read_position import Span
from pipeline.workspace.repair import find_rescues, repair_file

OLD = b"1\n2\n"


def replace_like_sed(path: Path) -> None:
    """`sed -i` and most editors write a new file and rename it over the old one."""
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    new.replace(path)


def replace_by_an_older_copy(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(OLD)
    new.replace(path)


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.jsonl"))


def remove(path: Path) -> None:
    path.unlink()


def move_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def rotate(path: Path) -> None:
    """Logrotate's `create`: a new, empty file under the old name."""
    path.rename(path.with_name("results.jsonl.1"))
    path.touch()


def copy_and_truncate(path: Path) -> None:
    """Logrotate's `copytruncate`."""
    shutil.copyfile(path, path.with_name("results.jsonl.1"))
    path.write_bytes(b"")


def append_foreign_line(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"foreign\n")


async def append_around(path: Path, interfere: Callable[[Path], object]) -> Sequence[Span | StorageError]:
    """Append two lines to a file with `OLD` lines, interfere, append two more; return the end of each."""
    path.parent.mkdir()
    path.write_bytes(OLD)
    ends: list[Span | StorageError] = []
    with path.open("ab+", buffering=0) as raw:
        jsonl = JsonlFile(path, SyncedFile(raw.fileno()), len(OLD))
        for line in (b"a\n", b"b\n", b"c\n", b"d\n"):
            if line == b"c\n":
                interfere(path)
            try:
                ends.append(await jsonl.append(line))
            except StorageError as exc:
                ends.append(exc)
        jsonl.close()
    return ends


@pytest.mark.parametrize(
    ("interfere", "healed"),
    [
        pytest.param(replace_like_sed, OLD + b"a\nb\nc\nd\n", id="sed"),
        pytest.param(replace_by_an_older_copy, OLD + b"a\nb\nc\nd\n", id="older-copy"),
        pytest.param(move, b"a\nb\nc\nd\n", id="mv"),
        pytest.param(remove, OLD + b"a\nb\nc\nd\n", id="rm"),
        pytest.param(rotate, b"a\nb\nc\nd\n", id="logrotate"),
        pytest.param(copy_and_truncate, b"c\nd\n", id="copytruncate"),
        pytest.param(append_foreign_line, OLD + b"a\nb\nforeign\nc\nd\n", id="foreign-line"),
    ],
)
async def test_no_line_of_the_run_is_lost(tmp_path: Path, interfere: Callable[[Path], object], healed: bytes) -> None:
    """The line that came after it fails, and names where the lines are; the next run's repair puts them back."""
    path = tmp_path / "out" / "results.jsonl"
    ends = await append_around(path, interfere)
    assert [type(end) for end in ends] == [Span, Span, StorageError, StorageError]
    repair_file(path)
    assert path.read_bytes() == healed
    assert find_rescues(path.parent) == []


async def test_a_moved_folder_is_named_with_its_new_place(tmp_path: Path) -> None:
    ends = await append_around(tmp_path / "out" / "results.jsonl", move_the_folder)
    assert str(tmp_path / "moved" / "results.jsonl") in str(ends[2])
    assert (tmp_path / "moved" / "results.jsonl").read_bytes() == OLD + b"a\nb\nc\nd\n"
    assert str(tmp_path / "moved" / "results.jsonl") in str(ends[3])


async def test_without_the_check_the_lines_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(jsonl_file, "check_replacement", lambda *_: None)
    path = tmp_path / "out" / "results.jsonl"
    ends = await append_around(path, replace_like_sed)
    assert [type(end) for end in ends] == [Span] * 4
    repair_file(path)
    assert path.read_bytes() == OLD + b"a\nb\n"

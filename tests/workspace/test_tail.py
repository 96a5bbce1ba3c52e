"""How far a file has been read, and which of its lines come next."""

from pathlib import Path

import pytest

from pipeline.records import Span
from pipeline.workspace import tail
from pipeline.workspace.tail import Mark, read_lines

LINES = (b"one\n", b"two\r\n", b"\n", "größer\u2028drei\n".encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four lines."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(LINES))
    return file


def test_lines_come_with_their_place(path: Path) -> None:
    """Only a newline ends a line; numbers are from 1, offsets lead to the line's bytes."""
    content = path.read_bytes()
    found = list(read_lines(path))
    assert [line for _, _, line in found] == list(LINES)
    assert [number for number, _, _ in found] == [1, 2, 3, 4]
    assert [content[span.start : span.end] for _, span, _ in found] == list(LINES)


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    """A workspace without failures has no failures.jsonl."""
    assert list(read_lines(tmp_path / "missing")) == []
    assert list(Mark(tmp_path / "missing").unread_lines()) == []


def test_unread_lines_are_the_whole_ones_behind_the_mark(path: Path) -> None:
    """A line that is still being written is left for later."""
    mark = Mark(path)
    mark.add(Span(0, 4))
    with path.open("ab") as file:
        file.write(b"torn")
    assert [line for _, line in mark.unread_lines()] == [line[:-1] for line in LINES[1:]]


def test_a_mark_waits_for_the_lines_before(path: Path) -> None:
    """Lines that are noted out of order do not let a gap count as read."""
    mark = Mark(path)
    mark.add(Span(4, 9))
    assert mark.end == 0
    mark.add(Span(0, 4))
    assert mark.end == 9


def test_the_fingerprint_is_that_of_what_was_read(path: Path) -> None:
    """What comes later does not change it; a change before the mark, or a file that is cut before it, does."""
    mark = Mark(path)
    mark.end = 9
    known = mark.fingerprint()
    with path.open("ab") as file:
        file.write(b"more\n")
    assert mark.fingerprint() == known
    path.write_bytes(b"One\ntwo\r\n")
    assert mark.fingerprint() != known
    path.write_bytes(b"one\n")
    assert mark.fingerprint() != known


def test_the_rest_of_a_line_that_was_being_written_is_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads while a run writes may get a line in two pieces: it waits for another time."""
    pieces = [(1, Span(0, 3), b"{}\n"), (2, Span(3, 7), b'{"id'), (3, Span(7, 12), b'":1}\n')]
    monkeypatch.setattr(tail, "read_lines", lambda *_, **__: iter(pieces))
    assert list(Mark(tmp_path / "results.jsonl").unread_lines()) == [(Span(0, 3), b"{}")]

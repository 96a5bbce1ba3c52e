"""Read positions in a file, and the lines after them."""

from pathlib import Path

import pytest

from pipeline.workspace import read_position
from pipeline.workspace.read_position import ReadPosition, Span, read_lines

LINES = (b"one\n", b"two\r\n", b"\n", "größer\u2028drei\n".encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four lines."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(LINES))
    return file


def test_lines_have_numbers_from_1_and_their_offsets(path: Path) -> None:
    """Only a newline ends a line."""
    content = path.read_bytes()
    found = list(read_lines(path))
    assert [line for _, _, _, line in found] == list(LINES)
    assert [number for _, number, _, _ in found] == [1, 2, 3, 4]
    assert [content[span.start : span.end] for _, _, span, _ in found] == list(LINES)


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "missing")) == []
    assert list(ReadPosition(tmp_path / "missing").unread_lines()) == []


def test_unread_lines_are_the_whole_lines_after_the_position(path: Path) -> None:
    position = ReadPosition(path)
    position.add(Span(0, 4))
    with path.open("ab") as file:
        file.write(b"torn")
    assert [line for _, line in position.unread_lines()] == [line[:-1] for line in LINES[1:]]


def test_lines_added_out_of_order_do_not_count_a_gap_as_read(path: Path) -> None:
    position = ReadPosition(path)
    position.add(Span(4, 9))
    assert position.end == 0
    position.add(Span(0, 4))
    assert position.end == 9


def test_the_fingerprint_changes_with_the_bytes_that_were_read_and_not_with_later_ones(path: Path) -> None:
    position = ReadPosition(path)
    position.end = 9
    known = position.fingerprint()
    with path.open("ab") as file:
        file.write(b"more\n")
    assert position.fingerprint() == known
    path.write_bytes(b"One\ntwo\r\n")
    assert position.fingerprint() != known
    path.write_bytes(b"one\n")
    assert position.fingerprint() != known


def test_the_second_half_of_a_line_that_a_run_was_writing_is_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may get a line in two pieces while a run writes it."""
    pieces = [
        ("results.jsonl", 1, Span(0, 3), b"{}\n"),
        ("results.jsonl", 2, Span(3, 7), b'{"id'),
        ("results.jsonl", 3, Span(7, 12), b'":1}\n'),
    ]
    monkeypatch.setattr(read_position, "read_lines", lambda *_, **__: iter(pieces))
    assert list(ReadPosition(tmp_path / "results.jsonl").unread_lines()) == [(Span(0, 3), b"{}")]

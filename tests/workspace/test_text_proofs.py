"""The index's proofs: attempts with a readable line, edited lines, and when all lines are read again."""

import os
from pathlib import Path

import pytest

from pipeline.records import State
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.index import Index
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.repair import repair_file
from pipeline.workspace.result_lines import encode_record
from tests.factories import make_failure, make_record, on_disk

RECORDS = [make_record(f"{number}.png", number, added=number) for number in range(20)]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Twenty records, a duplicate of one, and a failure, all in the index."""
    duplicate = make_record("copy.png", 3, duplicate_of="3.png", added=3)
    (tmp_path / RESULTS).write_bytes(b"".join(map(encode_record, [*RECORDS, duplicate])))
    (tmp_path / FAILURES).write_bytes(encode_failure(make_failure("bad.png", 99)))
    with Index.open(tmp_path) as index:
        index.add_file(on_disk("0.png"), 1)
        index.mark_file_pending(on_disk("later.png"))
    return tmp_path


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    """Change the first of these bytes in a file."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_each_attempt_counts_once(workspace: Path) -> None:
    with Index.open(workspace) as index:
        assert index.proofs.count() == 20
        assert [attempt for group in index.proofs.all() for attempt in group] == [each.attempts[0] for each in RECORDS]
        (attempt,) = RECORDS[4].attempts
        assert index.proofs.find([attempt, "missing"]) == {attempt}


def test_an_edit_that_keeps_the_size_is_noticed_and_forgets_no_file(workspace: Path) -> None:
    with Index.open(workspace) as index:
        index.proofs.put_number("excess x", 7)
    replace_bytes(workspace / RESULTS, b"text 1", b"TEXT 1")
    with Index.open(workspace) as index:
        assert index.proofs.count() == 19
        (edited,) = index.proofs.edited()
        assert (edited.source, edited.attempts) == (b"1.png", RECORDS[1].attempts)
        assert index.proofs.get_number("excess x") is None
        assert index.settled_states(on_disk("0.png")) == {State.DONE: 1}
        assert index.count_pages().totals[State.PENDING] == 1
        assert index.find_record(RECORDS[1].id) is None
    with Index.open(workspace) as index:
        assert (index.proofs.count(), len(index.proofs.edited())) == (19, 1)


def test_an_edited_line_that_a_later_one_replaced_does_not_stand(workspace: Path) -> None:
    replace_bytes(workspace / RESULTS, b"text 1", b"TEXT 1")
    with (workspace / RESULTS).open("ab") as file:
        file.write(encode_record(make_record("1.png", 1, added=500)))
    with Index.open(workspace) as index:
        assert index.proofs.edited() == []


def test_an_edited_failure_stands_too(workspace: Path) -> None:
    replace_bytes(workspace / FAILURES, b'"why"', b'"who"')
    with Index.open(workspace) as index:
        assert [(line.file, line.source, line.attempts) for line in index.proofs.edited()] == [
            (FAILURES, b"bad.png", ())
        ]


def test_lines_are_read_again_only_when_the_file_was_written_without_a_new_line(workspace: Path) -> None:
    """A crash leaves lines that the index has not read: then the rest alone is read."""
    with Index.open(workspace) as index:
        index.proofs.put_number("excess x", 7)
    with (workspace / RESULTS).open("ab") as file:
        file.write(encode_record(make_record("new.png", 50, added=50)))
    with Index.open(workspace) as index:
        assert (index.proofs.count(), index.proofs.get_number("excess x")) == (21, 7)
    with (workspace / RESULTS).open("ab") as file:
        file.write(b'{"id":"sha256:torn')
    assert repair_file(workspace / RESULTS)
    with Index.open(workspace, was_torn=True) as index:
        assert (index.proofs.count(), index.proofs.get_number("excess x")) == (21, 7)
    os.utime(workspace / RESULTS)
    with Index.open(workspace) as index:
        assert (index.proofs.count(), index.proofs.get_number("excess x")) == (21, None)

"""read_records: the last record of each page, whatever else is in the file."""

import itertools
import logging
import os
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageError, UsageError
from pipeline.records import Record
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.reader import read_records
from pipeline.workspace.result_lines import encode_record, parse_record
from pipeline.workspace.run_file import RunFile, write_run_file
from tests.factories import make_record

NAMES = ("a.png", "b.png", "書.tif", os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe8.png"))
RECORDS = st.builds(
    make_record, st.sampled_from(NAMES), st.integers(0, 9), page=st.integers(1, 3), added=st.integers(0, 59_000)
)


def flip(line: bytes, at: int) -> bytes:
    """Return a line with one bit flipped, but not that of its newline."""
    at %= len(line) - 1
    return line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]


LINES = st.one_of(
    RECORDS.map(encode_record),
    st.builds(flip, RECORDS.map(encode_record), st.integers(0, 10_000)),
    st.sampled_from([b"\n", b"\0" * 40 + b"\n", b"{}\n"]),
)


def read_naively(content: bytes) -> list[Record]:
    """Return the last record of each page with everything in memory."""
    last: dict[tuple[str, int], Record] = {}
    for line in content.split(b"\n"):
        try:
            record = parse_record(line)
        except DamagedLineError:
            continue
        last.pop((record.source, record.page), None)
        last[record.source, record.page] = record
    return list(last.values())


@given(st.lists(LINES, max_size=12), RECORDS.map(encode_record), st.integers(0, 500))
def test_it_yields_what_a_dict_of_all_lines_would_hold(lines: Sequence[bytes], torn: bytes, cut: int) -> None:
    content = b"".join(lines) + torn[:cut]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, RESULTS).write_bytes(content)
        assert list(read_records(directory)) == read_naively(content)


def test_records_are_in_the_order_of_the_last_lines(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png", "a.png"]
    records = [make_record(name, number) for number, name in enumerate(names)]
    (tmp_path / RESULTS).write_bytes(b"".join(map(encode_record, records)))
    assert list(read_records(tmp_path)) == records[1:]


def test_a_damaged_line_is_skipped_with_a_warning_that_names_its_file_and_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The page's earlier record counts then."""
    first, second = make_record("a.png", 1), make_record("a.png", 2)
    path = tmp_path / RESULTS
    path.write_bytes(encode_record(first) + flip(encode_record(second), 40))
    with caplog.at_level(logging.WARNING, "pagemill"):
        assert list(read_records(tmp_path)) == [first]
    assert caplog.messages == [f"{path}:2: skipped a damaged line: its checksum does not match"]


def test_a_torn_last_line_is_ignored_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run may be writing it."""
    record = make_record("a.png", 1)
    (tmp_path / RESULTS).write_bytes(encode_record(record) + encode_record(make_record("b.png", 2))[:-2])
    assert list(read_records(tmp_path)) == [record]
    assert caplog.messages == []


def test_lines_appended_during_the_iteration_do_not_disturb_it(tmp_path: Path) -> None:
    records = [make_record(f"{number}.png", number) for number in range(5)]
    path = tmp_path / RESULTS
    path.write_bytes(b"".join(map(encode_record, records)))
    found = []
    for record in read_records(tmp_path):
        found.append(record)
        with path.open("ab") as file:
            file.write(encode_record(make_record("0.png", 100 + len(found))))
    assert found == records
    assert [record.source for record in read_records(tmp_path)] == ["1.png", "2.png", "3.png", "4.png", "0.png"]


def test_a_read_only_workspace_can_be_read(as_nobody: Path) -> None:
    record, workspace = make_record("a.png", 1), as_nobody / "out"
    workspace.mkdir()
    (workspace / RESULTS).write_bytes(encode_record(record))
    (workspace / RESULTS).chmod(0o444)
    workspace.chmod(0o555)
    with pytest.raises(PermissionError):
        (workspace / "other").touch()
    assert list(read_records(workspace)) == [record]
    workspace.chmod(0o755)


@pytest.mark.parametrize("name", [pytest.param("empty", id="empty"), pytest.param("missing", id="missing")])
def test_a_directory_that_is_no_workspace_is_a_usage_error_at_the_call(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="not a workspace"):
        read_records(tmp_path / name)


def test_a_workspace_without_results_has_no_records(tmp_path: Path) -> None:
    """Its run ended before the first page did."""
    write_run_file(tmp_path, RunFile(workspace_id="a", version="1", service="vendor"))
    assert list(read_records(str(tmp_path))) == []


def test_results_that_cannot_be_read_are_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(StorageError, match=r"results\.jsonl"):
        list(read_records(tmp_path))


def test_its_memory_does_not_grow_with_the_number_of_pages(tmp_path: Path) -> None:
    """Only Python's memory is measured: SQLite keeps at most 2 MB of the temporary file.

    The first reading is not: Python keeps up to 2,000 freed tuples of a size.
    """
    peaks = []
    for count in (3000, 100, 3000):
        with (tmp_path / RESULTS).open("wb") as file:
            file.writelines(encode_record(make_record(f"{number}.png", number)) for number in range(count))
        tracemalloc.start()
        assert sum(1 for _ in read_records(tmp_path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1] + 100_000, peaks


def test_a_dict_of_all_records_is_seen_by_that_measurement() -> None:
    """Negative control."""
    content = b"".join(encode_record(make_record(f"{number}.png", number)) for number in range(3000))
    tracemalloc.start()
    read_naively(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > 1_000_000


def test_iterations_are_independent(tmp_path: Path) -> None:
    records = [make_record(f"{number}.png", number) for number in range(3)]
    (tmp_path / RESULTS).write_bytes(b"".join(map(encode_record, records)))
    both = list(zip(read_records(tmp_path), read_records(tmp_path), strict=True))
    assert both == list(zip(records, records, strict=True))
    assert list(itertools.islice(read_records(tmp_path), 1)) == records[:1]

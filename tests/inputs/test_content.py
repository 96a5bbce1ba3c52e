"""What is read once and shared with worker processes."""

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import PageError, UnreadableFileError
from pipeline.inputs.content import HeldContent, MappedFile, read_content
from pipeline.storage.files import StableFile
from tests.inputs.images import place_of, put


def test_a_large_file_is_hashed_in_blocks_and_not_kept(file: Path) -> None:
    data = bytes(range(256)) * (3 << 12) + b"end"
    read = read_content(os.fsencode(put(file, data)), None, 1000)
    assert (read.sha256, read.content) == (hashlib.sha256(data).hexdigest(), b"")
    assert read.place == place_of(file)


def test_a_file_that_may_be_sent_is_kept(file: Path) -> None:
    assert read_content(os.fsencode(put(file, b"a page")), None, 6).content == b"a page"


def test_a_large_file_that_grows_while_it_is_read_is_not_hashed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file, bytes(3 << 20))
    blocks = StableFile.blocks

    def append_meanwhile(opened: StableFile) -> Iterator[bytes]:
        for block in blocks(opened):
            with file.open("ab") as writer:
                writer.write(b"more")
            yield block

    monkeypatch.setattr(StableFile, "blocks", append_meanwhile)
    with pytest.raises(UnreadableFileError, match="changed while it was read"):
        read_content(os.fsencode(file), None, 1000)


def test_held_content_is_freed_once() -> None:
    holding = HeldContent(b"a page")
    mapped = MappedFile.open(holding.place)
    holding.close()
    holding.close()
    assert mapped[:] == b"a page"  # as long as a process maps it
    with pytest.raises(PageError):
        MappedFile.open(holding.place)


def test_no_room_for_content_is_the_failure_of_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(UnreadableFileError, match="cannot be held while it is converted: No space left on device"):
        HeldContent(b"a page")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_content_that_nobody_wants_any_more_is_freed() -> None:
    holding = HeldContent(b"a page")
    place = holding.place
    del holding
    with pytest.raises(PageError):
        MappedFile.open(place)


def test_without_files_in_memory_content_is_held_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    holding = HeldContent(b"a page")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"a page"]
    assert MappedFile.open(holding.place)[:] == b"a page"
    holding.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_to_a_mapped_file_stays_in_its_process(file: Path) -> None:
    mapped = MappedFile.open(place_of(put(file, b"a page")))
    mapped.write(b"b")
    assert mapped[:] == b"b page"
    assert file.read_bytes() == b"a page"
    assert not mapped.has_changed


def test_a_file_that_has_changed_is_not_mapped(file: Path) -> None:
    place = place_of(put(file, b"a page"))
    mapped = MappedFile.open(place)
    file.write_bytes(b"another page")
    assert mapped.has_changed
    with pytest.raises(UnreadableFileError, match="changed while it was read"):
        MappedFile.open(place)


@pytest.mark.parametrize(
    ("position", "whence"),
    [(0, os.SEEK_SET), (3, os.SEEK_SET), (900, os.SEEK_SET), (2, os.SEEK_CUR), (0, os.SEEK_END)],
)
def test_a_mapped_file_reads_as_bytes_io_does(file: Path, position: int, whence: int) -> None:
    """Damaged files name places beyond their end."""
    mapped, expected = MappedFile.open(place_of(put(file, b"0123456789"))), io.BytesIO(b"0123456789")
    for each in (mapped, expected):
        each.seek(1)
        each.seek(position, whence)
    assert [mapped.read(4), mapped.read()] == [expected.read(4), expected.read()]

"""What is read once and shared with worker processes."""

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ConversionError, UnreadableFileError
from pipeline.inputs.content import HeldContent, MappedFile, read_content
from pipeline.inputs.conversion_messages import Convert
from pipeline.inputs.image import ImageFile
from pipeline.records import Payload
from tests.inputs.images import VENDOR, encode, noise, put

SMALL = replace(VENDOR, limits=replace(VENDOR.limits, max_bytes=1000))


def held(content: bytes) -> HeldContent:
    holding = HeldContent()
    holding.write(content)
    return holding


def test_a_large_file_is_hashed_and_held_in_blocks(file: Path) -> None:
    data = encode(noise((1200, 1200)), "BMP")
    assert len(data) > 3 << 20
    opened = ImageFile(put(file, data), SMALL)
    task = opened.read(1)
    assert isinstance(task, Convert)
    assert task.sha256 == hashlib.sha256(data).hexdigest()
    assert MappedFile.open(task.path)[:] == data


def test_a_file_that_grows_while_it_is_read_in_blocks_is_not_held(file: Path) -> None:
    put(file, bytes(3 << 20))
    blocks = read_content(os.fsencode(file), None, 1000)
    next(blocks)
    with file.open("ab") as writer:
        writer.write(b"more")
    with pytest.raises(UnreadableFileError, match="changed while it was read"):
        list(blocks)


def test_a_file_within_the_limit_is_read_at_once(file: Path) -> None:
    put(file, bytes(3 << 20))
    assert [len(block) for block in read_content(os.fsencode(file), None, 3 << 20)] == [3 << 20]


def test_held_content_is_freed_once() -> None:
    holding = held(b"a page")
    assert holding.read() == b"a page"
    mapped = MappedFile.open(holding.path)
    holding.close()
    holding.close()
    assert mapped[:] == b"a page"  # as long as a process maps it
    with pytest.raises(ConversionError, match="cannot be mapped"):
        MappedFile.open(holding.path)


def test_content_that_nobody_wants_any_more_is_freed() -> None:
    holding = held(b"a page")
    path = holding.path
    del holding
    with pytest.raises(ConversionError, match="cannot be mapped"):
        MappedFile.open(path)


def test_without_files_in_memory_content_is_held_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    holding = held(b"a page")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"a page"]
    holding.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_to_a_mapped_file_stays_in_its_process() -> None:
    holding = held(b"a page")
    mapped = MappedFile.open(holding.path)
    mapped.write(b"b")
    assert mapped[:] == b"b page"
    assert holding.read() == b"a page"


@pytest.mark.parametrize(
    ("position", "whence"),
    [
        (0, os.SEEK_SET),
        (3, os.SEEK_SET),
        (900, os.SEEK_SET),
        (1 << 40, os.SEEK_SET),
        (2, os.SEEK_CUR),
        (0, os.SEEK_END),
    ],
)
def test_a_mapped_file_reads_as_bytes_io_does(position: int, whence: int) -> None:
    """Damaged files name places beyond their end."""
    holding = held(b"0123456789")
    mapped, expected = MappedFile.open(holding.path), io.BytesIO(b"0123456789")
    for each in (mapped, expected):
        each.seek(1)
        each.seek(position, whence)
    assert [mapped.read(4), mapped.read()] == [expected.read(4), expected.read()]


def test_a_page_that_fits_is_not_held(file: Path) -> None:
    opened = ImageFile(put(file, encode(noise((200, 200)), "PNG")), VENDOR)
    assert isinstance(opened.read(1), Payload)
    assert opened._held is None

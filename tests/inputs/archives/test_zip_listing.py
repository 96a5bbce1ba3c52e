"""ZIP central directories: those that `zipfile` writes, and damaged ones."""

import os
import stat
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.inputs.archives import zip_listing
from pipeline.inputs.archives.entries import ENCRYPTED, ArchiveError, Entry
from pipeline.inputs.archives.zip_listing import list_zip
from pipeline.inputs.kinds import SPECIAL_FILE, SYMLINK
from tests.archives import patch, write_zip


def entries(path: Path) -> list[Entry]:
    """List a ZIP."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(list_zip(fd))
    finally:
        os.close(fd)


def facts(path: Path) -> list[tuple[bytes, int, int, int, int, int]]:
    """Return what `zipfile` says."""
    with zipfile.ZipFile(path) as archive:
        return [
            (
                info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"),
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.compress_type,
                info.CRC,
            )
            for info in archive.infolist()
        ]


def listed(path: Path) -> list[tuple[bytes, int, int, int, int, int]]:
    """Return what the listing says."""
    return [
        (found.name, found.offset, found.packed_bytes, found.size_bytes, found.method, found.crc)
        for found in entries(path)
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.dictionaries(st.text(min_size=1).filter(lambda name: "\0" not in name), st.binary(max_size=50), max_size=5))
def test_a_listing_says_what_zipfile_says(tmp_path: Path, members: dict[str, bytes]) -> None:
    members = {name.encode("utf-8", "replace").decode(): content for name, content in members.items()}
    box = write_zip(tmp_path / "box.zip", members)
    assert listed(box) == facts(box)


def test_a_listing_of_several_blocks_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_listing, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(zip_listing, "_LONGEST_ENTRY_BYTES", 60)
    box = write_zip(tmp_path / "box.zip", {f"{number:03}.png": b"x" for number in range(100)})
    assert listed(box) == facts(box)


def test_zip64_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    box = write_zip(tmp_path / "box.zip", {f"{number}.png": bytes(20) for number in range(5)}, method=0)
    assert b"PK\x06\x07" in box.read_bytes()
    assert listed(box) == facts(box)


def test_data_before_the_archive_shift_it(tmp_path: Path) -> None:
    """A self-extracting archive."""
    box = write_zip(tmp_path / "box.zip", {"a.png": b"x"})
    box.write_bytes(b"#!/bin/sh\n" + box.read_bytes())
    assert entries(box)[0].offset == 10


def test_links_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    modes = {"a.png": stat.S_IFREG, "l.png": stat.S_IFLNK, "p.png": stat.S_IFIFO, "d.png": stat.S_IFDIR, "e/": 0}
    with zipfile.ZipFile(tmp_path / "box.zip", "w") as archive:
        for name, mode in modes.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system = (mode | 0o644) << 16, 3
            archive.writestr(info, "x" if not name.endswith("/") else "")
    assert [entry.kind for entry in entries(tmp_path / "box.zip")] == [None, SYMLINK, SPECIAL_FILE, "", ""]


def test_an_encrypted_member_says_so(tmp_path: Path) -> None:
    box = write_zip(tmp_path / "box.zip", {"a.png": b"x"})
    content = bytearray(box.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    box.write_bytes(content)
    assert [entry.refusal for entry in entries(box)] == [ENCRYPTED]


@pytest.mark.parametrize("left", range(0, 109, 9))
def test_a_cut_off_archive_is_refused(tmp_path: Path, left: int) -> None:
    box = write_zip(tmp_path / "box.zip", {"a.png": b"x"})
    box.write_bytes(box.read_bytes()[:left])
    with pytest.raises(ArchiveError, match="cut off"):
        entries(box)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"PK\x01\x02", b"PK\x01\x03"), (b"PK\x05\x06\0\0", b"PK\x05\x06\1\0")],
    ids=["no-signature", "a-part-of-several"],
)
def test_a_damaged_directory_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    box = write_zip(tmp_path / "box.zip", {"a.png": b"x"})
    patch(box, old, new)
    with pytest.raises(ArchiveError):
        entries(box)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_an_archive_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    box = write_zip(tmp_path / "box.zip", {"a.png": b"x", "b/c.png": b"y"})
    content = bytearray(box.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    box.write_bytes(content)
    with suppress(ArchiveError):
        entries(box)


def test_a_listing_reads_the_directory_in_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a byte of the members: so the first call soon follows, however many there are."""
    box = write_zip(tmp_path / "box.zip", {f"{number:05}.png": os.urandom(200) for number in range(20_000)}, method=0)
    start = box.read_bytes().index(b"PK\x01\x02")
    reads: list[tuple[int, int]] = []
    pread = os.pread

    def count(fd: int, size: int, offset: int) -> bytes:
        reads.append((size, offset))
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", count)
    assert len(entries(box)) == 20_000
    assert len(reads) == 4
    assert min(offset for _, offset in reads) >= start
    assert max(size for size, _ in reads) <= 1 << 20

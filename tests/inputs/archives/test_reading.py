"""Members: what is read, and what is refused, before or after a bounded amount was unpacked."""

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import (
    DecompressionBombError,
    EmptyFileError,
    MissingFileError,
    PageError,
    TruncatedImageError,
    UnfittableImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from pipeline.inputs.archives import reading
from pipeline.inputs.archives.catalogue import open_catalogue
from pipeline.inputs.archives.entries import ENCRYPTED
from pipeline.inputs.archives.reading import read_member, read_member_head
from pipeline.members import Member
from tests.archives import METHODS, write_zip

MOST = 1 << 30


def member(path: Path, name: str = "a.png", **changes: Any) -> Member:
    """Return a member of an archive, with some of its facts changed."""
    found = open_catalogue(str(path)).find(name)
    assert found is not None
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("content", [b"x", bytes(3 << 20), os.urandom(3 << 20)], ids=["byte", "zeros", "noise"])
def test_a_member_is_read_whole(tmp_path: Path, method: int, content: bytes) -> None:
    found = member(write_zip(tmp_path / "box.zip", {"0.png": b"before", "a.png": content}, method=method))
    assert read_member(found, MOST) == content
    assert read_member_head(found, 1024) == content[:1024]


def test_a_member_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    """Its sizes follow its data, and its local header says zero."""
    with (tmp_path / "box.zip").open("wb") as file, zipfile.ZipFile(_pipe(file), "w") as archive:
        archive.writestr("a.png", b"hello")
    assert read_member(member(tmp_path / "box.zip"), MOST) == b"hello"


def _pipe(file: Any) -> Any:
    """Return a file that cannot be positioned."""
    return SimpleNamespace(write=file.write, flush=file.flush)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param({"refusal": ENCRYPTED}, UnsupportedImageError, "encrypted", id="encrypted"),
        pytest.param({"method": 93}, UnsupportedImageError, "method 93 (zstd)", id="zstd"),
        pytest.param({"method": 9}, UnsupportedImageError, "deflate64", id="deflate64"),
        pytest.param({"size_bytes": 300 << 20}, DecompressionBombError, "314572800 bytes packed in", id="ratio"),
        pytest.param({"size_bytes": 2 << 30, "packed_bytes": 1 << 30}, UnfittableImageError, "2147483648", id="size"),
        pytest.param({"size_bytes": 99}, DecompressionBombError, "more than the 99 bytes", id="larger-than-declared"),
        pytest.param({"size_bytes": 2000}, TruncatedImageError, "1000 of 2000", id="smaller-than-declared"),
        pytest.param({"size_bytes": 0}, EmptyFileError, "zero bytes", id="empty"),
        pytest.param({"crc": 1}, TruncatedImageError, "CRC-32", id="crc"),
        pytest.param({"offset": 1}, TruncatedImageError, "no local header", id="no-header"),
        pytest.param({"packed_bytes": 5}, TruncatedImageError, "damaged|cut off", id="cut-off"),
        pytest.param({"archive_bytes": 1}, UnreadableFileError, "has changed", id="changed-size"),
        pytest.param({"archive_mtime_ns": 1}, UnreadableFileError, "has changed", id="changed-time"),
        pytest.param({"archive": b"/nowhere.zip"}, MissingFileError, "gone", id="gone"),
    ],
)
def test_a_refused_member_says_why(
    tmp_path: Path, changes: dict[str, Any], error: type[PageError], message: str
) -> None:
    found = member(write_zip(tmp_path / "box.zip", {"a.png": bytes(1000)}), **changes)
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        read_member(found, MOST)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_bomb_is_unpacked_to_one_byte_more_than_declared(
    tmp_path: Path, method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    unpack = reading._read

    def count(*arguments: Any) -> Any:
        for block in unpack(*arguments):
            read.append(len(block))
            yield block

    monkeypatch.setattr(reading, "_read", count)
    found = member(write_zip(tmp_path / "box.zip", {"a.png": bytes(50 << 20)}, method=method), size_bytes=1000)
    if method == 0:  # a stored member has the size of its data
        found = msgspec.structs.replace(found, packed_bytes=50 << 20)
    with pytest.raises(DecompressionBombError):
        read_member(found, MOST)
    assert sum(read) == 1001


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.sampled_from([8, 12, 14]), st.data())
def test_damaged_data_are_a_failure_of_the_page(tmp_path: Path, method: int, data: st.DataObject) -> None:
    box = write_zip(tmp_path / "box.zip", {"a.png": b"some text, " * 20}, method=method)
    content = bytearray(box.read_bytes())
    place = data.draw(st.integers(35, content.index(b"PK\x01\x02") - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    box.write_bytes(content)
    with suppress(TruncatedImageError, DecompressionBombError):
        assert read_member(member(box), MOST) == b"some text, " * 20


def test_the_head_of_an_empty_member_is_empty(tmp_path: Path) -> None:
    assert read_member_head(member(write_zip(tmp_path / "box.zip", {"a.png": b""})), 10) == b""

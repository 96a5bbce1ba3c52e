"""Members of compressed TARs: in the order of the archive they take one pass, and a retry takes one more."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MissingFileError, UnreadableFileError
from pipeline.inputs.archives import streams
from pipeline.inputs.archives.catalogue import open_catalogue
from pipeline.inputs.archives.reading import read_member
from pipeline.inputs.archives.streams import Stream
from pipeline.members import Member
from tests.archives import write_tar

MEMBERS = {f"{number}.png": os.urandom(300_000) for number in range(12)}


@pytest.fixture
def places(tmp_path: Path) -> list[Member]:
    """Places of the members of a compressed TAR, in its order."""
    box = open_catalogue(str(write_tar(tmp_path / "box.tgz", MEMBERS, "w:gz")))
    return [member for _, member, _ in box.below("")]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each opening of a stream adds its descriptor."""
    opened: list[int] = []

    class Counted(Stream):
        def __init__(self, fd: int) -> None:
            opened.append(fd)
            super().__init__(fd)

    monkeypatch.setattr(streams, "Stream", Counted)
    return opened


def read(places: list[Member]) -> list[bytes]:
    """Read members one after the other."""
    return [read_member(place, 1 << 20) for place in places]


def test_in_order_all_members_take_one_pass(places: list[Member], passes: list[int]) -> None:
    assert read(places) == list(MEMBERS.values())
    assert len(passes) == 1


def test_some_members_in_order_take_one_pass(places: list[Member], passes: list[int]) -> None:
    assert read(places[2::3]) == list(MEMBERS.values())[2::3]
    assert len(passes) == 1


def test_a_member_before_the_last_takes_a_pass(places: list[Member], passes: list[int]) -> None:
    contents = list(MEMBERS.values())
    assert read([places[5], places[2], places[3], places[3]]) == [contents[5], contents[2], contents[3], contents[3]]
    assert len(passes) == 3


def test_a_changed_archive_is_not_read(tmp_path: Path, places: list[Member]) -> None:
    read(places[:1])
    os.utime(tmp_path / "box.tgz", ns=(1, 1))
    with pytest.raises(UnreadableFileError, match="has changed"):
        read(places[1:2])
    (tmp_path / "box.tgz").unlink()
    with pytest.raises(MissingFileError, match="gone"):
        read(places[1:2])


def test_few_archives_stay_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers of descriptors
    for number in range(12):
        box = open_catalogue(str(write_tar(tmp_path / f"{number}.tgz", {"a.png": b"x"}, "w:gz")))
        read([member for _, member, _ in box.below("")])
    assert len(os.listdir("/proc/self/fd")) <= before + 5  # noqa: PTH208 - the same


def test_a_stream_goes_forward_and_back_within_a_block(tmp_path: Path) -> None:
    content: Any = os.urandom(3 << 20)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[: 1 << 20]) + gzip.compress(content[1 << 20 :]))
    fd = os.open(tmp_path / "a.gz", os.O_RDONLY)
    stream = Stream(fd)
    assert stream.read_data(10) == content[:10]
    assert stream.seek(2_000_000) == stream.tell() == 2_000_000
    assert stream.read_data(100_000) == content[2_000_000:2_100_000]
    stream.seek(2_099_999)
    assert stream.read_data(1) == content[2_099_999:2_100_000]
    assert stream.read_data(9 << 20) == content[2_100_000:]
    assert stream.seek(9 << 20) == 3 << 20
    os.close(fd)

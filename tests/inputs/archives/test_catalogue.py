"""Catalogues: which members there are, in which order, under which name."""

import os
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UnsupportedImageError
from pipeline.inputs.archives import catalogue
from pipeline.inputs.archives.catalogue import open_catalogue
from pipeline.inputs.archives.entries import NotAnArchiveError
from pipeline.inputs.archives.reading import read_member
from tests.archives import write_zip

PARTS = st.sampled_from(["a", "b", "B", "a.b", "é", "中", "10", "9"])
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


def names(path: Path, folder: str = "") -> list[str]:
    """Return the names of the members below a folder."""
    return [name for name, _, _ in open_catalogue(str(path)).below(folder)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(NAMES, max_size=8))
def test_each_member_is_found_by_its_name_and_the_last_of_a_name_counts(tmp_path: Path, listed: list[str]) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "box.zip", "w") as archive:
        warnings.simplefilter("ignore")  # of zipfile, about names that are there
        for number, name in enumerate(listed):
            archive.writestr(name, str(number))
    os.utime(tmp_path / "box.zip", ns=(len(listed), hash(tuple(listed)) & 0xFFFFFFFF))
    box = open_catalogue(str(tmp_path / "box.zip"))
    last = {name: str(number).encode() for number, name in enumerate(listed)}
    assert {name: read_member(member, 10) for name, member, _ in box.below("")} == last
    assert {name: read_member(member, 10) for name in last if (member := box.find(name))} == last
    assert box.ignored["repeated name"] == len(listed) - len(last)
    assert box.find("zz") is None


def test_a_folder_has_the_members_below_it(tmp_path: Path) -> None:
    box = write_zip(tmp_path / "box.zip", dict.fromkeys(["b/2", "b/1", "b/c/1", "bc/1", "b.png", "a/1"], b"x"))
    assert names(box) == ["b.png", "a/1", "b/1", "b/2", "b/c/1", "bc/1"]
    assert names(box, "b") == ["b/1", "b/2", "b/c/1"]
    assert names(box, "nowhere") == []


def test_unsafe_names_are_counted_and_named(tmp_path: Path) -> None:
    box = open_catalogue(str(write_zip(tmp_path / "box.zip", dict.fromkeys(["../a", "/b", "c/../../d", "ok"], b"x"))))
    assert dict(box.ignored) == {"unsafe name": 3}
    assert [name for name, _ in box.refused] == ["../a", "/b", "c/../../d"]
    assert [name for name, _, _ in box.below("")] == ["ok"]


def test_an_archive_of_too_many_members_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_MEMBERS", 2)
    box = open_catalogue(str(write_zip(tmp_path / "box.zip", dict.fromkeys("abc", b"x"))))
    assert box.fault == "it has more than 2 members; split it, or unpack it"


def test_a_changed_archive_is_listed_again(tmp_path: Path) -> None:
    box = write_zip(tmp_path / "box.zip", {"a": b"x"})
    first = open_catalogue(str(box))
    assert open_catalogue(str(box)) is first
    write_zip(box, {"b": b"x"})
    os.utime(box, ns=(1, 1))
    assert names(box) == ["b"]


def test_the_time_of_a_member_tells_any_change(tmp_path: Path) -> None:
    """To the second it is the archive's."""
    times = set()
    for content, stamp in [(b"x", 10), (b"y", 10), (b"x", 11)]:
        box = write_zip(tmp_path / f"{content.decode()}{stamp}.zip", {"a": content})
        os.utime(box, ns=(stamp, 5_000_000_000 + stamp))
        member = open_catalogue(str(box)).find("a")
        assert member is not None
        assert member.mtime_ns // 1_000_000_000 == 5
        times.add(member.mtime_ns)
    assert len(times) == 3


def test_a_member_takes_less_than_a_hundred_bytes(tmp_path: Path) -> None:
    box = open_catalogue(str(write_zip(tmp_path / "box.zip", {f"letters/{n:06}.jpg": b"x" for n in range(1000)})))
    assert len(box._records) + box._order.itemsize * len(box) < 100 * len(box)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xd8\xff", b"Rar!\x1a\x07"])
def test_other_content_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "box.zip").write_bytes(content)
    with pytest.raises(NotAnArchiveError):
        open_catalogue(str(tmp_path / "box.zip"))


@pytest.mark.parametrize("method", [1, 99, 0x7FFF, 0x8000, 0xFFFF])
def test_a_damaged_method_fails_its_member_only(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "box.zip", {"a.png": b"first", "b.png": b"second"}, method=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.rindex(b"PK\x01\x02") + 10, method)
    path.write_bytes(content)
    box = open_catalogue(str(path))
    first, second = box.find("a.png"), box.find("b.png")
    assert first is not None
    assert second is not None
    assert read_member(first, 10) == b"first"
    with pytest.raises(UnsupportedImageError, match=f"packed by method {method} "):
        read_member(second, 10)


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_a_place_beyond_any_file_is_damage(tmp_path: Path, offset: int) -> None:
    path = write_zip(tmp_path / "box.zip", {"a.png": b"first", "b.png": b"second"}, method=zipfile.ZIP_STORED)
    content = path.read_bytes()
    entry, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    extra = struct.pack("<HHQ", 1, 8, offset)
    second = bytearray(content[entry:end])
    struct.pack_into("<H", second, 30, len(extra))
    struct.pack_into("<I", second, 42, 0xFFFFFFFF)
    tail = bytearray(content[end:])
    struct.pack_into("<I", tail, 12, struct.unpack_from("<I", tail, 12)[0] + len(extra))
    path.write_bytes(content[:entry] + second + extra + tail)
    box = open_catalogue(str(path))
    assert names(path) == ["a.png"]
    assert box.fault == "damaged: a member of impossible size or place"

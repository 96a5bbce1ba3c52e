"""TAR headers: those that `tarfile` writes in all its formats, and damaged and hostile ones."""

import gzip
import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.inputs.archives import streams
from pipeline.inputs.archives.catalogue import Catalogue, open_catalogue
from pipeline.inputs.archives.entries import SPARSE, ArchiveError, Entry, NotAnArchiveError
from pipeline.inputs.archives.reading import read_member
from pipeline.inputs.archives.tar_listing import list_compressed_tar, list_tar
from tests.archives import write_tar

COMPRESSIONS = ["gz", "bz2", "xz"]


def entries(path: Path) -> list[Entry]:
    """List a TAR."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(list_tar(fd) if path.suffix == ".tar" else list_compressed_tar(fd))
    finally:
        os.close(fd)


def contents(box: Catalogue) -> dict[str, bytes]:
    """Return what the members hold."""
    return {name: read_member(member, 1 << 20) for name, member, _ in box.below("")}


def add(archive: tarfile.TarFile, name: str, content: bytes = b"x", **facts: object) -> None:
    """Add a member with these facts."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for fact, value in facts.items():
        setattr(info, fact, value)
    archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("compression", ["", *COMPRESSIONS])
@pytest.mark.parametrize("version", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_format_are_read(tmp_path: Path, compression: str, version: int) -> None:
    """Long names, too, which GNU and PAX write before the header."""
    long = "/".join(["folder-" + "x" * 90] * (1 if version == tarfile.USTAR_FORMAT else 4)) + "/1.png"
    members = {"./2.png": os.urandom(5000), long: b"long", "信.png": b"", "a/3.png": bytes(513)}
    path = tmp_path / f"box.tar{compression and '.'}{compression}"
    with tarfile.open(path, f"w:{compression}", format=version) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            add(archive, name, content)
    box = open_catalogue(str(path))
    assert box.fault is None
    del members["信.png"]  # an empty member has nothing to read
    assert {name for name, _, _ in box.below("")} == {"2.png", "信.png", long, "a/3.png"}
    for name, content in members.items():
        member = box.find(name.removeprefix("./"))
        assert member is not None
        assert read_member(member, 1 << 20) == content


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_compressed_tar_comes_in_its_own_order(tmp_path: Path, compression: str) -> None:
    members = {f"{name}.png": name.encode() * 3 for name in "cab"}
    box = open_catalogue(str(write_tar(tmp_path / f"box.tar.{compression}", members, f"w:{compression}")))
    assert [name for name, _, _ in box.below("")] == ["c.png", "a.png", "b.png"]
    assert [name for name, _, _ in open_catalogue(str(write_tar(tmp_path / "box.tar", members))).below("")] == [
        "a.png",
        "b.png",
        "c.png",
    ]
    assert contents(box) == members


def test_what_is_no_file_is_counted(tmp_path: Path) -> None:
    types = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    with tarfile.open(tmp_path / "box.tar", "w") as archive:
        add(archive, "a.png")
        for kind in types:
            add(archive, f"{ord(kind)}.png", b"", type=kind, linkname="/etc/passwd")
        add(archive, "../b.png")
        add(archive, "/c.png")
    box = open_catalogue(str(tmp_path / "box.tar"))
    assert dict(box.ignored) == {"symlink": 1, "hard link": 1, "special file": 2, "unsafe name": 2}
    assert [name for name, _, _ in box.below("")] == ["a.png"]


def test_the_first_bytes_decide_on_the_way(tmp_path: Path) -> None:
    """In a compressed TAR, where reading them later would take a pass."""
    members = {"scan": b"\xff\xd8\xff", "README": b"text", "a.png": b"x", "b": b"AT&TFORM", "c": b"%PDF-1.7"}
    box = open_catalogue(str(write_tar(tmp_path / "box.tgz", members, "w:gz")))
    assert [(name, kind) for name, _, kind in box.below("")] == [
        ("scan", "page"),
        ("README", "no suffix"),
        ("a.png", ""),
        ("b", ".djvu"),
        ("c", "page"),
    ]


def test_a_sparse_member_is_named(tmp_path: Path) -> None:
    fields = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1", "GNU.sparse.size": "1000"}
    with tarfile.open(tmp_path / "box.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "a.png", pax_headers=fields)
    assert [entry.refusal for entry in entries(tmp_path / "box.tar")] == [SPARSE]


@pytest.mark.parametrize("compression", ["", "gz"])
@pytest.mark.parametrize("left", [512, 700, 1024, 1100, 1536, 1700, 2048])
def test_a_cut_off_archive_says_so_and_keeps_what_precedes(tmp_path: Path, compression: str, left: int) -> None:
    path = write_tar(tmp_path / "box.tar", {"1.png": b"x" * 600, "2.png": b"y"})
    content = path.read_bytes()[:left]
    path.write_bytes(gzip.compress(content) if compression else content)
    box = open_catalogue(str(path))
    assert box.fault is not None
    assert ("cut off" in box.fault) or ("end" in box.fault)
    whole = [name for name, _, _ in box.below("")][: 1 if left >= 1536 else 0]
    assert whole == ["1.png"][: len(whole)]


def test_a_cut_off_compression_says_so(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "box.tgz", {"1.png": os.urandom(3000), "2.png": os.urandom(3000)}, "w:gz")
    path.write_bytes(path.read_bytes()[:-100])
    fault = open_catalogue(str(path)).fault
    assert fault is not None
    assert "cut off" in fault


def test_a_header_that_announces_too_much_is_refused(tmp_path: Path) -> None:
    """Of a long name of 3 MB, which `tarfile` would read into memory."""
    with tarfile.open(tmp_path / "box.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, "x" * (3 << 20))
    with pytest.raises(ArchiveError, match="headers of a member"):
        entries(tmp_path / "box.tar")


def test_a_header_with_a_negative_size_ends_the_listing(tmp_path: Path) -> None:
    """It would lead backwards, and round and round."""
    info = tarfile.TarInfo("a.png")
    info.size = -1024
    (tmp_path / "box.tar").write_bytes(bytes(0) + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ArchiveError):
        entries(tmp_path / "box.tar")


def test_a_bomb_ends_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BOMB_FROM_BYTES", 10 << 20)
    path = write_tar(tmp_path / "box.tgz", {"a.png": bytes(30 << 20), "b.png": b"x"}, "w:gz")
    with pytest.raises(ArchiveError, match="a bomb"):
        entries(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.sampled_from(["", "gz"]), st.data())
def test_any_damage_is_an_archive_error_or_harmless(tmp_path: Path, compression: str, data: st.DataObject) -> None:
    path = write_tar(tmp_path / f"box.{compression or 'tar'}", {"a.png": b"x", "b/c": b"y"}, f"w:{compression}")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 2600) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(ArchiveError):
        entries(path)


def test_a_compressed_file_that_is_no_tar_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "box.tgz").write_bytes(gzip.compress(b"some text"))
    with pytest.raises(NotAnArchiveError):
        open_catalogue(str(tmp_path / "box.tgz"))

"""Archives in a walk: the rules for names are those of directories."""

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import InputConfig
from pipeline.errors import UnreadableFileError, UsageError
from pipeline.inputs.archives import catalogue
from pipeline.inputs.archives.entries import Entry
from pipeline.inputs.archives.zip_listing import list_zip
from pipeline.inputs.resolve import resolve_inputs
from pipeline.members import Member
from tests.archives import patch, write_zip
from tests.inputs.test_source import collect, ignored, names, problems

MEMBERS = dict.fromkeys(["b.png", "letters/2.jpg", "letters/10.jpg", "a/deep/1.tif", "notes.txt"], b"x")
INSIDE = ["b.png", "a/deep/1.tif", "letters/10.jpg", "letters/2.jpg"]


async def test_an_archive_is_a_folder_of_the_walk(tmp_path: Path) -> None:
    write_zip(tmp_path / "scans" / "box.zip", MEMBERS)
    for name in ["1.png", "z.png", "a/1.png", "z/1.png"]:
        (tmp_path / "scans" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(b"x")
    expected = ["1.png", "z.png", "a/1.png", *(f"box.zip/{name}" for name in INSIDE), "z/1.png"]
    assert await names(tmp_path, "scans") == expected
    assert await ignored(tmp_path, "scans") == {".txt": 1}


async def test_names_in_an_archive_that_is_the_input_begin_with_its_own(tmp_path: Path) -> None:
    write_zip(tmp_path / "box.zip", MEMBERS)
    assert await names(tmp_path, "box.zip") == [f"box.zip/{name}" for name in INSIDE]
    assert await names(tmp_path, "box.zip/letters") == ["box.zip/letters/10.jpg", "box.zip/letters/2.jpg"]
    assert await names(tmp_path, "box.zip/letters/2.jpg") == ["box.zip/letters/2.jpg"]
    with pytest.raises(UsageError, match="no such file"):
        resolve_inputs(["box.zip/nowhere"], cwd=tmp_path)


@pytest.mark.parametrize("name", ["box", "box.cbz", "box.2024", "BOX.ZIP"])
async def test_the_content_of_an_input_says_that_it_is_an_archive(tmp_path: Path, name: str) -> None:
    write_zip(tmp_path / name, {"1.png": b"x"})
    assert await names(tmp_path, name) == [f"{name}/1.png"]


async def test_a_folder_holds_archives_by_suffix_and_content(tmp_path: Path) -> None:
    """Office documents are ZIPs, too; a page with an archive's suffix is a page."""
    for name in ["a.cbz", "b.docx", "c"]:
        write_zip(tmp_path / "scans" / name, {"1.png": b"x"})
    (tmp_path / "scans" / "d.zip").write_bytes(b"\xff\xd8\xff")
    files = await collect(tmp_path, "scans")
    assert [(file.name, file.undecided) for file in files] == [("c", True), ("a.cbz/1.png", False), ("d.zip", True)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("scans/*.zip", INSIDE),
        ("scans/**", INSIDE),
        ("scans/*.zip/*.png", ["b.png"]),
        ("scans/**/*.jpg", ["letters/10.jpg", "letters/2.jpg"]),
        ("scans/box.zip/letters/*", ["letters/10.jpg", "letters/2.jpg"]),
    ],
)
async def test_globs_reach_into_archives(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    write_zip(tmp_path / "scans" / "box.zip", MEMBERS)
    found = await names(tmp_path, pattern)
    assert [name.partition("box.zip/")[2] for name in found] == expected


async def test_include_and_exclude_apply_to_members(tmp_path: Path) -> None:
    write_zip(tmp_path / "scans" / "box.zip", MEMBERS)
    assert await names(tmp_path, "scans", include=["box.zip/letters/*"]) == [
        "box.zip/letters/10.jpg",
        "box.zip/letters/2.jpg",
    ]
    assert await names(tmp_path, "scans", exclude=["letters", "*.tif"]) == ["box.zip/b.png"]
    assert await names(tmp_path, "scans", exclude=["*.zip"]) == []


async def test_what_is_no_page_is_counted_as_in_a_directory(tmp_path: Path) -> None:
    members = ["__MACOSX/._1.png", "__MACOSX/a/._2.png", ".hidden/1.png", ".1.png", "1.docx", "in.zip", "in.tar.gz"]
    write_zip(tmp_path / "box.zip", dict.fromkeys([*members, "../1.png", "1.png"], b"x"))
    expected = {"system folder": 1, ".docx": 1, "nested archive": 2, "unsafe name": 1}
    assert await ignored(tmp_path, "box.zip") == expected
    assert await names(tmp_path, "box.zip") == ["box.zip/1.png"]


async def test_what_is_refused_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_zip(tmp_path / "scans" / "box.zip", dict.fromkeys(["../1.png", "in.zip"], b"x"))
    await ignored(tmp_path, "scans")
    assert caplog.messages == [
        "box.zip: '../1.png': an absolute name, or one with .. or NUL; ignored",
        "box.zip: 'in.zip': an archive within an archive; unpack it; ignored",
    ]


async def test_links_in_an_archive_are_counted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "box.zip", "w") as archive:
        info = zipfile.ZipInfo("1.png")
        info.external_attr, info.create_system = (stat.S_IFLNK | 0o777) << 16, 3
        archive.writestr(info, "/etc/passwd")
    assert await ignored(tmp_path, "box.zip") == {"symlink": 1}


async def test_a_damaged_archive_is_a_failed_page(tmp_path: Path) -> None:
    box = write_zip(tmp_path / "scans" / "box.zip", MEMBERS)
    box.write_bytes(box.read_bytes()[:-40])
    found = problems(await collect(tmp_path, "scans"))
    reason = "cannot list the archive: no central directory at its end: cut off, or no ZIP"
    assert found == [("box.zip", UnreadableFileError, reason)]
    assert problems(await collect(tmp_path, "scans/box.zip")) == found


async def test_a_path_through_an_archive_is_a_row_of_a_manifest(tmp_path: Path) -> None:
    write_zip(tmp_path / "box.zip", MEMBERS)
    (tmp_path / "list.txt").write_text("box.zip/letters/2.jpg\n box.zip/b.png\nbox.zip/gone.png\nlist.txt/a\nbox.zip\n")
    files = await collect(tmp_path, "list.txt")
    assert [(file.name, isinstance(file.member, Member)) for file in files] == [
        ("box.zip/letters/2.jpg", True),
        ("box.zip/b.png", True),
        ("box.zip/gone.png", False),
        ("list.txt/a", False),
        ("box.zip", False),
    ]
    assert [str(file.problem) for file in files[2:]] == [
        "no such file in its archive",
        "no such file",
        "an archive; give it to run as an INPUT, or name its members",
    ]


async def test_a_name_in_another_encoding_is_kept(tmp_path: Path) -> None:
    """Windows writes the machine's code page without a flag."""
    box = write_zip(tmp_path / "box.zip", {"xxxx.png": b"x"})
    patch(box, b"xxxx", "信件".encode("gbk"))
    (file,) = await collect(tmp_path, "box.zip")
    assert os.fsencode(file.name) == b"box.zip/" + "信件".encode("gbk") + b".png"
    assert file.member is not None


async def test_a_large_folder_is_listed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the first page is dispatched before the last is listed; the archive's directory is read once."""
    listed: list[int] = []

    def count(fd: int) -> Iterator[Entry]:
        listed.append(fd)
        return list_zip(fd)

    monkeypatch.setattr(catalogue, "list_zip", count)
    write_zip(tmp_path / "box.zip", {f"{number:04}.png": b"x" for number in range(3000)})
    assert len(await names(tmp_path, "box.zip")) == 3000
    assert len(listed) == 1


async def test_a_member_has_size_and_time(tmp_path: Path) -> None:
    box = write_zip(tmp_path / "box.zip", {"a.png": b"hello"})
    (file,) = await collect(tmp_path, "box.zip", config=InputConfig())
    assert file.stat is not None
    assert (file.stat.size_bytes, file.stat.mtime_ns // 10**9) == (5, box.stat().st_mtime_ns // 10**9)

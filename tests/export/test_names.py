"""Exported files stay below their folder, whatever the sources' names hold."""

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.base import ExportJob
from pipeline.export.documents import Document
from pipeline.export.names import export_path, page_path
from pipeline.records import State
from pipeline.workspace.finished_pages import FinishedPage
from pipeline.workspace.result_lines import encode_record, parse_whole_result
from tests.export.workspaces import put_records, run_export
from tests.factories import make_record

NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("/.%~\udc80\n"),
    min_size=1,
    max_size=300,
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        pytest.param("letters/1897/brief 1.tif", "letters/1897/brief 1.tif.txt", id="as-it-is"),
        pytest.param("/scans/a.png", "%2F/scans/a.png.txt", id="absolute"),
        pytest.param("x.txt/a.png", "x%2Etxt/a.png.txt", id="folder-named-as-a-file"),
        pytest.param("a./b. /c.", "a%2E/b%2E%20/c..txt", id="trailing-dots-and-spaces"),
        pytest.param("a//b", "a/%2F/b.txt", id="empty-part"),
        pytest.param("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd.txt", id="parents"),
        pytest.param("https://host.org/a/b.png?x=1", "https%3A/host.org/a/b.png%3Fx=1.txt", id="url"),
        pytest.param("卷一/第1页.jpg", "卷一/第1页.jpg.txt", id="chinese"),
        pytest.param("a\nb\udcff.png", "a%0Ab%FF.png.txt", id="bytes-and-newlines"),
    ],
)
def test_paths_mirror_the_names(name: str, path: str) -> None:
    assert export_path(name, ".txt") == path


@given(NAMES)
def test_no_path_leaves_the_folder_or_is_too_long(name: str) -> None:
    path = PurePosixPath(export_path(name, ".txt"))
    assert not path.is_absolute()
    assert not {".", ".."} & set(path.parts)
    assert all(len(os.fsencode(part)) <= 204 for part in path.parts)
    assert path.name.endswith(".txt")


PARTS = st.lists(st.sampled_from(["x", "x.txt", "x.0001", "x.0001.txt", "..", ".", "", "x%2Etxt"]), min_size=1)


@given(PARTS, PARTS)
def test_no_file_is_in_the_place_of_a_folder(one: list[str], other: list[str]) -> None:
    first, second = (PurePosixPath(export_path("/".join(parts), ".txt")) for parts in (one, other))
    assert first not in second.parents


def page_paths(source: str, *pages: int) -> list[str]:
    """Return the paths of the pages of a document."""
    lines = [parse_whole_result(encode_record(make_record(source, 1, page=page)).rstrip()) for page in pages]
    finished = [FinishedPage(b"", page, State.DONE, "", in_doubt=False, id="", offset=0) for page in pages]
    return [page_path(Document(source, finished), line, ".txt") for line in lines]


def test_no_page_has_the_path_of_another_files_page() -> None:
    paths = [*page_paths("a.tif", 1, 2), *page_paths("a.tif.0001", 1), *page_paths("a.tif.0001.0001", 1, 2)]
    assert len(set(paths)) == 5
    assert page_paths("frame.0001.tif", 1) == ["frame.0001.tif.txt"]


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("txt", ".txt"), ("hocr", ".hocr"), ("page", ".page.xml"), ("alto", ".alto.xml"), ("pdf", ".pdf")],
)
def test_sources_whose_mirrored_names_meet_are_all_exported(form: str, suffix: str, tmp_path: Path) -> None:
    names = ["x", f"x{suffix}/y", f"x{suffix}/{suffix}", "/x", "../x", "x.0001", "http://h/x", "http://h//x", "d./x"]
    names += ["d/x", "z" * 300, "q/" * 1500 + "x", os.fsdecode(b"\xff"), "%FF"]
    records = [replace(make_record(name, number), text="") for number, name in enumerate(names)]
    workspace = put_records(tmp_path / "out", records, root=tmp_path)
    assert run_export(form, ExportJob(workspace, tmp_path / "files")).documents == len(names)
    files = {path for path in (tmp_path / "files").rglob(f"*{suffix}") if path.is_file()}
    assert len(files) == len(names)
    run_export(form, ExportJob(workspace, tmp_path / "files"))
    assert {path for path in (tmp_path / "files").rglob(f"*{suffix}") if path.is_file()} == files


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_long_and_odd_names_stay_apart(names: list[str]) -> None:
    assert export_path(names[0], ".txt") != export_path(names[1], ".txt")


def test_a_file_of_the_longest_name_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / export_path("页" * 300, ".txt")
    path.write_text("x")
    assert path.exists()

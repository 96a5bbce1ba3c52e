"""Exported files stay below their folder, whatever the sources' names hold."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.names import export_path

NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("/.%~\udc80\n"),
    min_size=1,
    max_size=300,
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        pytest.param("letters/1897/brief 1.tif", "letters/1897/brief 1.tif.txt", id="as-it-is"),
        pytest.param("/scans/a.png", "scans/a.png.txt", id="absolute"),
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


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_long_and_odd_names_stay_apart(names: list[str]) -> None:
    first, second = names
    if [part for part in first.split("/") if part] != [part for part in second.split("/") if part]:
        assert export_path(first, ".txt") != export_path(second, ".txt")


def test_a_file_of_the_longest_name_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / export_path("页" * 300, ".txt")
    path.write_text("x")
    assert path.exists()

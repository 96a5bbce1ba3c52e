"""Names of an archive's members: which are refused, and their order."""

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.archives.entries import normalise, sort_key

PARTS = st.binary(min_size=1, max_size=4).filter(lambda part: b"/" not in part and b"\0" not in part)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(b"/".join)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.png", b"a.png"),
        (b"./a.png", b"a.png"),
        (b"a//b/./c.png", b"a/b/c.png"),
        (b"a..b/..c", b"a..b/..c"),
        (b"\xd6\xd0/1.png", b"\xd6\xd0/1.png"),
        (b"a\\..\\b.png", b"a\\..\\b.png"),
        (b"../a.png", None),
        (b"a/../../b.png", None),
        (b"a/..", None),
        (b"..", None),
        (b"/etc/a.png", None),
        (b"a\0.png", None),
        (b".", None),
        (b"", None),
    ],
)
def test_a_name_is_a_path_below_the_archive_or_refused(name: bytes, expected: bytes | None) -> None:
    assert normalise(name) == expected


@given(st.binary(max_size=30) | NAMES | st.text("./a", max_size=12).map(str.encode))
def test_a_normalised_name_is_one_path_that_stays_below(name: bytes) -> None:
    """It is what the filesystem would make of it, so a manifest's path finds the member."""
    path = normalise(name)
    if path is None:
        assert b"\0" in name or name.startswith(b"/") or b".." in name.split(b"/") or not name.strip(b"./")
    else:
        assert path == os.path.normpath(name)
        assert normalise(path) == path
        assert not path.startswith((b"/", b"../"))


@given(st.lists(NAMES, max_size=12))
def test_the_order_is_that_of_a_walk(names: list[bytes]) -> None:
    """Files before subdirectories, each in byte order."""

    def walk_key(name: bytes) -> list[tuple[bool, bytes]]:
        *folders, last = name.split(b"/")
        return [*((True, folder) for folder in folders), (False, last)]

    assert sorted(names, key=sort_key) == sorted(names, key=walk_key)


@given(NAMES)
def test_names_are_kept_exactly(name: bytes) -> None:
    """Whatever their encoding is: an index key, a source and `source_b64` are made of the same bytes."""
    assert os.fsencode(os.fsdecode(name)) == name
    assert PurePosixPath(os.fsdecode(name)).parts

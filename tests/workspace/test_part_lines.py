"""The lines of parts.jsonl, and what the index knows of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import FileStat, PageId, Prep, Reply, SourceFile
from pipeline.tiles import Tile
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.index import Index
from pipeline.workspace.part_lines import Part, encode_part, parse_part
from pipeline.workspace.paths import PARTS
from pipeline.workspace.reencoding import restore_line
from pipeline.workspace.repair import repair_file
from pipeline.workspace.sink import open_sink
from tests.factories import moment, page_id

TILES = tuple(Tile(number, 3, (0, number * 90, 50, number * 90 + 100), "blank") for number in (1, 2, 3))


def make_part(number: int, *, added: int = 1, text: str = "text", content: int = 5) -> Part:
    """Return a tile of a page of three."""
    return Part(
        id=page_id(content),
        source="tall.png",
        page=1,
        tile=TILES[number - 1],
        text=text,
        prep=Prep("png", 50, 100, 999),
        reply=Reply("doc", 1, "host"),
        attempt=f"owner-{added:06d}",
        elapsed_ms=1,
        added=moment(added),
    )


@given(
    st.text(), st.binary(min_size=1, max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape")),
    st.none() | st.text(),
)  # fmt: skip
def test_a_part_is_read_as_it_was_written(text: str, source: str, note: str | None) -> None:
    part = replace(make_part(2, text=text), source=source, note=note)
    line = encode_part(part)
    assert line.count(b"\n") == 1
    assert parse_part(line[:-1]) == part
    assert restore_line(line) == line[:-1]


@given(st.data())
def test_any_changed_byte_is_detected(data: st.DataObject) -> None:
    line = bytearray(encode_part(make_part(1))[:-1])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedLineError):
        parse_part(bytes(line))


def write(workspace: Path, *parts: Part) -> None:
    with (workspace / PARTS).open("ab") as file:
        file.write(b"".join(map(encode_part, parts)))


def test_the_index_finds_the_tiles_of_a_page_with_the_same_place(tmp_path: Path) -> None:
    write(tmp_path, make_part(1, added=1), make_part(3, added=2), make_part(2, added=3, content=6))
    moved = (*TILES[:2], replace(TILES[2], box=(0, 271, 50, 370)))
    with Index.open(tmp_path) as index:
        assert sorted(index.parts.find(page_id(5), TILES)) == [1, 3]
        assert sorted(index.parts.find(page_id(5), moved)) == [1]
        assert sorted(index.parts.find(page_id(5), TILES[:2])) == []
        assert sorted(index.parts.find(page_id(5), TILES, since=moment(2))) == [3]
        assert index.parts.find(PageId("sha256:0#1"), TILES) == {}
        assert index.proofs.find([f"owner-{number:06d}" for number in range(5)]) == {
            "owner-000001", "owner-000002", "owner-000003",
        }  # fmt: skip


def test_the_last_line_of_a_tile_counts(tmp_path: Path) -> None:
    write(tmp_path, make_part(1, added=1, text="one"), make_part(1, added=9, text="other"))
    with Index.open(tmp_path) as index:
        assert index.parts.find(page_id(5), TILES)[1].text == "other"


def test_a_damaged_line_is_named_and_skipped(tmp_path: Path) -> None:
    write(tmp_path, make_part(1), make_part(2, added=2))
    path = tmp_path / PARTS
    path.write_bytes(path.read_bytes().replace(b'"text":"text"', b'"text":"TEXT"', 1))
    with Index.open(tmp_path) as index:
        assert [damage.file for damage in index.damaged] == [PARTS]
        assert sorted(index.parts.find(page_id(5), TILES)) == [2]


def test_lines_whose_newline_is_missing_are_both_found(tmp_path: Path) -> None:
    write(tmp_path, make_part(1), make_part(2, added=2))
    path = tmp_path / PARTS
    path.write_bytes(path.read_bytes().replace(b"}\n{", b"}{"))
    with Index.open(tmp_path) as index:
        assert sorted(index.parts.find(page_id(5), TILES)) == [1, 2]


def test_a_plan_counts_the_tiles_of_a_file_that_was_not_written_since(tmp_path: Path) -> None:
    write(tmp_path, make_part(1, added=1), make_part(2, added=2))
    before, after = (
        SourceFile("tall.png", tmp_path / "tall.png", FileStat(1, seconds * 10**9)) for seconds in (10**9, 4 * 10**9)
    )
    with Index.open(tmp_path) as index:
        assert [index.parts.count(file, 1, 3) for file in (before, after)] == [2, 0]
        assert index.parts.count(before, 1, 4) == 0
        assert index.parts.count(replace(before, again_before=moment(2)), 1, 3) == 1


async def test_a_part_is_on_disk_when_its_append_returns(tmp_path: Path) -> None:
    async with open_sink(tmp_path) as sink:
        span = await sink.append_part(make_part(1))
        assert (tmp_path / PARTS).read_bytes() == encode_part(make_part(1))
        assert (span.start, span.end) == (0, len(encode_part(make_part(1))))


def test_a_torn_line_is_moved_aside(tmp_path: Path) -> None:
    write(tmp_path, make_part(1))
    with (tmp_path / PARTS).open("ab") as file:
        file.write(encode_part(make_part(2))[:50])
    assert repair_file(tmp_path / PARTS)
    assert (tmp_path / PARTS).read_bytes() == encode_part(make_part(1))

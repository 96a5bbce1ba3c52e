"""Columns of vertical writing laid out as rows."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.engine.line_reader import Reading
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad
from pipeline.engine.vertical import Ink, cut_into_cells, lay_out_as_row, read_lines
from tests.engine.geometry import quad
from tests.evaluation.pages import FACES

TYPE_PX = 40


def column(text: str) -> Pixels:
    """Return a column of text as a detector's crop has it: on its left side, with paper around it."""
    font = FACES["traditional"][1].at(TYPE_PX)
    picture = Image.new("RGB", (TYPE_PX + 16, TYPE_PX * len(text) + 16), "white")
    ImageDraw.Draw(picture).text((8, 8), text, fill="black", font=font, direction="ttb")
    return np.ascontiguousarray(np.rot90(np.asarray(picture)))


def pieces(row: Pixels) -> list[tuple[int, int]]:
    """Return where the ink of a row begins and ends, piece by piece."""
    ink = np.r_[False, (row.min(axis=(0, 2)) < 128), False]
    edges = np.flatnonzero(ink[1:] != ink[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.parametrize("text", ["一二三四五六七八", "圖書館代為保管", "第二三第二三", "田，由。申甲"])
def test_a_column_is_cut_between_its_characters(text: str) -> None:
    """The white within 二 and 三 is no end of a character."""
    lying = column(text)
    profile = (lying.min(axis=2) < 128).mean(axis=0)
    cuts = cut_into_cells(profile, TYPE_PX)
    inner = [8 + TYPE_PX * i for i in range(1, len(text))]
    assert [min(abs(cut - edge) for cut in cuts) < TYPE_PX / 4 for edge in inner] == [True] * len(inner)
    assert len(text) + 1 <= len(cuts) <= len(text) + 3


def test_a_row_has_the_characters_upright_and_in_order() -> None:
    """口 tells nothing; 上 and 下 have their long stroke at the foot and at the head."""
    row = lay_out_as_row(column("上下上下上下")) < 128
    cells = np.array_split(row[:, :, 0], 6, axis=1)
    heads = [int(cell[: len(cell) // 2].sum()) for cell in cells]
    feet = [int(cell[len(cell) // 2 :].sum()) for cell in cells]
    assert [head > foot for head, foot in zip(heads, feet, strict=True)] == [False, True] * 3


def test_a_comma_stands_at_the_foot_and_a_bracket_as_in_a_row() -> None:
    """A column's comma stands in the middle of its cell, its brackets lie across it."""
    row = lay_out_as_row(column("書（圖）館，書田田書")) < 128
    width = row.shape[1] / 10
    cells = [row[:, round(width * i) : round(width * (i + 1)), 0] for i in range(10)]
    comma = np.flatnonzero(cells[5].any(axis=1))
    assert comma[0] > len(row) / 2
    for bracket in (cells[1], cells[3]):
        ys, xs = np.flatnonzero(bracket.any(axis=1)), np.flatnonzero(bracket.any(axis=0))
        assert np.ptp(ys) > 2 * np.ptp(xs)


def test_the_figure_nought_is_narrow() -> None:
    """So that it is read as 0; 口 keeps its width."""
    nought, mouth = (pieces(lay_out_as_row(column(f"甲{character}甲")))[1] for character in "〇口")
    assert nought[1] - nought[0] < 0.65 * TYPE_PX < mouth[1] - mouth[0]


@pytest.mark.parametrize(
    ("ink", "kind"),
    [
        pytest.param(Ink(0.1, 0.45, 0.9, 0.55), "character", id="one"),
        pytest.param(Ink(0.1, 0.65, 0.9, 0.95), "turned", id="opening-bracket"),
        pytest.param(Ink(0.1, 0.05, 0.9, 0.35), "turned", id="closing-bracket"),
        pytest.param(Ink(0.45, 0.0, 0.55, 1.0), "turned", id="dash"),
        pytest.param(Ink(0.6, 0.1, 0.8, 0.3), "point", id="comma"),
        pytest.param(Ink(0.05, 0.05, 0.95, 0.95), "character", id="character"),
    ],
)
def test_marks_are_told_by_where_their_ink_stands(ink: Ink, kind: str) -> None:
    """Brackets stand near what they enclose, 一 in the middle."""
    assert (ink.is_point, ink.is_turned) == (kind == "point", kind == "turned")


@pytest.mark.parametrize("size", [(1, 2), (40, 300), (3, 4000)])
def test_paper_is_no_column(size: tuple[int, int]) -> None:
    """A blank crop comes back as it is."""
    blank = np.full((*size, 3), 255, np.uint8)
    assert lay_out_as_row(blank) is blank


class ScriptedReader:
    """Reads what it was told of rows, which are known by being the crop itself or not.

    Attributes:
        asked: How many rows each call had.
    """

    def __init__(self, crop: Pixels, lying: Reading, upright: Reading) -> None:
        self.asked: list[int] = []
        self._crop = crop
        self._lying = lying
        self._upright = upright

    def read(self, rows: Sequence[Pixels]) -> list[Reading]:
        """Return the rows' text."""
        self.asked.append(len(rows))
        return [self._lying if row is self._crop else self._upright for row in rows]


TALL: Quad = quad(0, 0, width=56, height=400)
WIDE: Quad = quad(0, 0, width=400, height=56)


@pytest.mark.parametrize(
    ("lying", "upright", "text"),
    [
        pytest.param(Reading("茶葉", 0.99), Reading("茶葉，", 0.95), "茶葉，", id="a-column"),
        pytest.param(Reading("Price", 0.97), Reading("田田", 0.56), "Price", id="words-turned-as-a-whole"),
        pytest.param(Reading("", 0.0), Reading("茶", 0.6), "茶", id="both-in-doubt"),
        pytest.param(Reading("", 0.0), Reading("一00三年", 0.9), "一〇〇三年", id="noughts"),
        pytest.param(Reading("", 0.0), Reading("100", 0.9), "100", id="figures"),
        pytest.param(Reading("", 0.0), Reading("0", 0.9), "0", id="a-figure-alone"),
    ],
)
def test_a_tall_line_is_read_as_a_column_or_on_its_side_by_the_score(
    lying: Reading, upright: Reading, text: str
) -> None:
    """A heading on a chart's axis stands as tall as a column of Chinese."""
    crop = column("圖書館代為保管")
    reader = ScriptedReader(crop, lying, upright)
    assert [reading.text for reading in read_lines(reader.read, [crop], [TALL])] == [text]


def test_what_is_not_tall_is_read_once_as_it_is() -> None:
    """A page of rows costs nothing more."""
    crop = column("圖書館代為保管")
    reader = ScriptedReader(crop, Reading("row", 0.3), Reading("column", 0.9))
    assert [reading.text for reading in read_lines(reader.read, [crop, crop], [WIDE, WIDE])] == ["row", "row"]
    assert [asked for asked in reader.asked if asked] == [2]

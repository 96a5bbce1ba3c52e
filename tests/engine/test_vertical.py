"""Columns of vertical writing, laid out as rows."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.engine.ctc import Reading
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


def ink_spans(row: Pixels) -> list[tuple[int, int]]:
    """Return the beginning and the end of each piece of ink along a row."""
    ink = np.r_[False, (row.min(axis=(0, 2)) < 128), False]
    edges = np.flatnonzero(ink[1:] != ink[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.parametrize("text", ["一二三四五六七八", "圖書館代為保管", "第二三第二三", "田，由。申甲"])
def test_a_column_is_cut_between_its_characters(text: str) -> None:
    """The white within 二 and 三 does not end a character."""
    on_side = column(text)
    profile = (on_side.min(axis=2) < 128).mean(axis=0)
    cuts = cut_into_cells(profile, TYPE_PX)
    inner = [8 + TYPE_PX * i for i in range(1, len(text))]
    assert [min(abs(cut - edge) for cut in cuts) < TYPE_PX / 4 for edge in inner] == [True] * len(inner)
    assert len(text) + 1 <= len(cuts) <= len(text) + 3


def test_a_row_has_the_characters_upright_and_in_order() -> None:
    """上 has its long stroke at the foot and 下 at the head; a symmetric 口 would prove nothing."""
    row = lay_out_as_row(column("上下上下上下")) < 128
    cells = np.array_split(row[:, :, 0], 6, axis=1)
    heads = [int(cell[: len(cell) // 2].sum()) for cell in cells]
    feet = [int(cell[len(cell) // 2 :].sum()) for cell in cells]
    assert [head > foot for head, foot in zip(heads, feet, strict=True)] == [False, True] * 3


def test_commas_move_to_the_foot_and_brackets_stand_upright() -> None:
    """A column has its commas in the middle of their cells and its brackets on their side."""
    row = lay_out_as_row(column("書（圖）館，書田田書")) < 128
    width = row.shape[1] / 10
    cells = [row[:, round(width * i) : round(width * (i + 1)), 0] for i in range(10)]
    comma = np.flatnonzero(cells[5].any(axis=1))
    assert comma[0] > len(row) / 2
    for bracket in (cells[1], cells[3]):
        ys, xs = np.flatnonzero(bracket.any(axis=1)), np.flatnonzero(bracket.any(axis=0))
        assert np.ptp(ys) > 2 * np.ptp(xs)


def test_a_ring_is_narrowed_and_a_square_is_not() -> None:
    """The recogniser reads a narrow 〇 as 0."""
    ring, square = (ink_spans(lay_out_as_row(column(f"甲{character}甲")))[1] for character in "〇口")
    assert ring[1] - ring[0] < 0.65 * TYPE_PX < square[1] - square[0]


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
def test_marks_are_classified_by_the_bounds_of_their_ink(ink: Ink, kind: str) -> None:
    """Brackets are near the character that they enclose, 一 is in the middle."""
    assert (ink.is_point, ink.is_turned) == (kind == "point", kind == "turned")


@pytest.mark.parametrize("size", [(1, 2), (40, 300), (3, 4000)])
def test_a_column_without_ink_is_unchanged(size: tuple[int, int]) -> None:
    blank = np.full((*size, 3), 255, np.uint8)
    assert lay_out_as_row(blank) is blank


class ScriptedReader:
    """Returns one reading for the crop itself and another for any other row.

    Attributes:
        calls: The number of rows of each call.
    """

    def __init__(self, crop: Pixels, on_side: Reading, upright: Reading) -> None:
        self.calls: list[int] = []
        self._crop = crop
        self._on_side = on_side
        self._upright = upright

    def read(self, rows: Sequence[Pixels]) -> list[Reading]:
        """Return the rows' text."""
        self.calls.append(len(rows))
        return [self._on_side if row is self._crop else self._upright for row in rows]


TALL: Quad = quad(0, 0, width=56, height=400)
WIDE: Quad = quad(0, 0, width=400, height=56)


@pytest.mark.parametrize(
    ("on_side", "upright", "text"),
    [
        pytest.param(Reading("茶葉", 0.99), Reading("茶葉，", 0.95), "茶葉，", id="a-column"),
        pytest.param(Reading("Price", 0.97), Reading("田田", 0.56), "Price", id="words-on-their-side"),
        pytest.param(Reading("", 0.0), Reading("茶", 0.6), "茶", id="both-in-doubt"),
        pytest.param(Reading("", 0.0), Reading("一00三年", 0.9), "一〇〇三年", id="zeros"),
        pytest.param(Reading("", 0.0), Reading("100", 0.9), "100", id="figures"),
        pytest.param(Reading("", 0.0), Reading("0", 0.9), "0", id="a-figure-alone"),
    ],
)
def test_a_tall_line_has_the_more_confident_of_its_readings_as_column_and_on_its_side(
    on_side: Reading, upright: Reading, text: str
) -> None:
    """A label on a chart's axis is as tall as a column of Chinese."""
    crop = column("圖書館代為保管")
    reader = ScriptedReader(crop, on_side, upright)
    assert [reading.text for reading in read_lines(reader.read, [crop], [TALL])] == [text]


@pytest.mark.parametrize(("down", "up", "text"), [(0.95, 0.4, "down"), (0.4, 0.95, "up")])
def test_words_that_run_up_or_down_a_margin_are_read_either_way(down: float, up: float, text: str) -> None:
    crop = column("圖書館代為保管")

    def read(rows: Sequence[Pixels]) -> list[Reading]:
        found = {crop.tobytes(): Reading("down", down), crop[::-1, ::-1].tobytes(): Reading("up", up)}
        return [found.get(row.tobytes(), Reading("nm「oc", 0.9)) for row in rows]

    assert [reading.text for reading in read_lines(read, [crop], [TALL])] == [text]


def test_a_line_that_is_not_tall_is_read_once() -> None:
    crop = column("圖書館代為保管")
    reader = ScriptedReader(crop, Reading("row", 0.3), Reading("column", 0.9))
    assert [reading.text for reading in read_lines(reader.read, [crop, crop], [WIDE, WIDE])] == ["row", "row"]
    assert [count for count in reader.calls if count] == [2]

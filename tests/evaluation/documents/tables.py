"""Tables without rules: lists of words and names, bank statements with empty cells, and cells of several lines."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from tests.evaluation.documents.sheet import SANS, SERIF, Sheet
from tests.evaluation.pages import Page, Word
from tests.evaluation.typesetting import wrap
from tests.evaluation.values import amount
from tests.evaluation.writing import Language

SIZE_PX = (1654, 2339)
"""A4 at 200 dpi."""

MARGIN_PX = 130

SetTable = Callable[[Sheet, int, float], None]


def make_tables(language: Language, rng: random.Random) -> Page:
    """Return a page of tables whose cells each have one line."""
    return _make(language, rng, rng.sample([_set_list, _set_statement, _set_list], k=3), range(8, 16))


def make_wrapped_tables(language: Language, rng: random.Random) -> Page:
    """Return a page of tables whose first column has cells of several lines.

    The other cells of a row are level with its middle or with its first line. The truth has such a cell whole, before
    the others.
    """
    return _make(language, rng, [_set_wrapped] * 3, range(5, 8))


def _make(language: Language, rng: random.Random, tables: list[SetTable], counts: range) -> Page:
    face = rng.choice((SANS, SERIF))[language]
    sheet = Sheet(language, rng, SIZE_PX, face, rng.randrange(22, 28), y=MARGIN_PX + 30)
    title = sheet.font(1.5, bold=True)
    sheet.lines(sheet.phrase("title"), MARGIN_PX, SIZE_PX[0] - MARGIN_PX, leading=1.4 * title.size, font=title)
    for set_table in tables:
        sheet.y += sheet.type_px
        text = sheet.writer.paragraph(language, rng.randrange(1, 3))
        if sheet.y > 0.65 * SIZE_PX[1]:
            break
        sheet.lines(text, MARGIN_PX, SIZE_PX[0] - MARGIN_PX, leading=1.5 * sheet.type_px)
        sheet.y += 1.5 * sheet.type_px
        set_table(sheet, rng.choice(counts), sheet.type_px * rng.uniform(1.5, 2.1))
    return sheet.page()


def _edges(sheet: Sheet, columns: Sequence[tuple[str, str]], first: float = 0.0) -> list[float]:
    """Return the left edges of columns, and the right margin: each as wide as its text needs, with white between.

    Args:
        sheet: The page.
        columns: The header and the template of each.
        first: Share of the width that the first column has, if its text is wrapped.
    """
    width = SIZE_PX[0] - 2 * MARGIN_PX
    needs = [_need(sheet, header, template) for header, template in columns]
    if first:
        needs[0] = first * width
    spare = min((width - sum(needs)) / len(needs), sheet.type_px * sheet.rng.choice((1.2, 2.0, 10.0)))
    return [MARGIN_PX + sum(needs[:i]) + i * spare for i in range(len(needs) + 1)]


def _need(sheet: Sheet, header: str, template: str) -> float:
    """Return the width of a column's widest text among a few."""
    texts = [sheet.writer.fill(sheet.language, template) for _ in range(30)]
    return max(sheet.font(bold=True).getlength(header), *map(sheet.font().getlength, texts))


def _set_list(sheet: Sheet, count: int, leading: float) -> None:
    """Set a table of words, all left-aligned, with a bold head."""
    columns = sheet.writer.columns(sheet.language, "text_columns")
    edges = _edges(sheet, columns)
    bold = sheet.font(bold=True)
    sheet.put(*(sheet.place(name, x, font=bold) for (name, _), x in zip(columns, edges, strict=False)))
    for _ in range(count):
        sheet.y += leading
        sheet.put(*_cells(sheet, columns, edges))
    sheet.y += leading


def _cells(sheet: Sheet, columns: Sequence[tuple[str, str]], edges: Sequence[float]) -> list[Word]:
    """Return the filled cells of a row, each at the left edge of its column."""
    rooms = [right - left - 0.5 * sheet.type_px for left, right in pairwise(edges)]
    texts = [_fitting(sheet, template, room) for (_, template), room in zip(columns, rooms, strict=True)]
    return [sheet.place(text, x) for text, x in zip(texts, edges, strict=False)]


def _fitting(sheet: Sheet, template: str, room_px: float) -> str:
    """Return a filled template that is not wider than its column; few are."""
    while sheet.font().getlength(text := sheet.writer.fill(sheet.language, template)) > room_px:
        pass
    return text


def _set_statement(sheet: Sheet, count: int, leading: float) -> None:
    """Set a bank statement: date, description, money out or in, balance; the amounts are right-aligned."""
    head = sheet.parts("statement_columns")
    right = SIZE_PX[0] - MARGIN_PX
    lefts = (MARGIN_PX, MARGIN_PX + 0.16 * (right - MARGIN_PX))
    rights = tuple(MARGIN_PX + share * (right - MARGIN_PX) for share in (0.64, 0.82, 1.0))
    bold = sheet.font(bold=True)
    sheet.put(
        *(sheet.place(text, x, font=bold) for text, x in zip(head[:2], lefts, strict=True)),
        *(sheet.place(text, x, align="right", font=bold) for text, x in zip(head[2:], rights, strict=True)),
    )
    day = sheet.rng.randrange(1, 6)
    for _ in range(count):
        sheet.y += leading
        day = min(28, day + sheet.rng.randrange(3))
        text = wrap(sheet.phrase("statement"), sheet.font(), rights[0] - lefts[1] - 5 * sheet.type_px)[0]
        words = [sheet.place(f"2024-03-{day:02}", lefts[0]), sheet.place(text, lefts[1])]
        side = sheet.rng.choice((0, 0, 1))
        words += [sheet.place(amount(sheet.rng), x, align="right") for x in (rights[side], rights[2])]
        sheet.put(*words)
    sheet.y += leading


def _set_wrapped(sheet: Sheet, count: int, leading: float) -> None:
    """Set a table whose first column has long cells."""
    columns = sheet.writer.columns(sheet.language, "wrapped_columns")
    edges = _edges(sheet, columns, first=0.3)
    bold = sheet.font(bold=True)
    sheet.put(*(sheet.place(name, x, font=bold) for (name, _), x in zip(columns, edges, strict=False)))
    is_centred, line_px = sheet.rng.random() < 0.5, 1.25 * sheet.type_px
    for _ in range(count):
        sheet.y += leading
        text = sheet.writer.fill(sheet.language, columns[0][1])
        lines = wrap(text, sheet.font(), edges[1] - edges[0] - 2 * sheet.type_px)
        top, bottom = sheet.y, sheet.y + (len(lines) - 1) * line_px
        words = []
        for i, line in enumerate(lines):
            sheet.y = top + i * line_px
            words.append(sheet.place(line, edges[0]))
        sheet.y = (top + bottom) / 2 if is_centred else top
        sheet.put(*words, *_cells(sheet, columns[1:], edges[1:]))
        sheet.y = bottom
    sheet.y += leading

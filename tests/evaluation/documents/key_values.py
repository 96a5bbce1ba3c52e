"""Key-value pages: certificates, data sheets and contracts, whose labels and values share base lines."""

import random
from collections.abc import Mapping
from typing import Literal

from tests.evaluation.documents.sheet import SANS, SERIF, Sheet
from tests.evaluation.pages import Page, Word
from tests.evaluation.typesetting import wrap
from tests.evaluation.writing import Language

SIZE_PX = (1240, 1754)
"""A4 at 150 dpi."""

MARGIN_PX = 110

Style = Literal["colons in a column", "tab", "leader dots", "labels to the right", "two pairs in a row"]
STYLES: Mapping[Style, int] = {
    "colons in a column": 1,
    "tab": 1,
    "leader dots": 2,
    "labels to the right": 1,
    "two pairs in a row": 3,
}
"""How often each style occurs."""


def make_key_values(language: Language, rng: random.Random) -> Page:
    """Return a page of sections, each with fields in one of five styles, some with a paragraph between them."""
    face = rng.choice((SANS, SERIF))[language]
    sheet = Sheet(language, rng, SIZE_PX, face, rng.randrange(19, 25), y=MARGIN_PX + 20)
    sheet.put(sheet.place(sheet.phrase("title"), MARGIN_PX, font=sheet.font(1.5, bold=True)))
    (style,) = rng.choices(list(STYLES), list(STYLES.values()))
    leading = sheet.type_px * rng.uniform(1.5, 2.2)
    bottom = SIZE_PX[1] - MARGIN_PX
    sheet.y += 3 * sheet.type_px
    while sheet.y + 6 * leading < bottom:
        sheet.put(sheet.place(sheet.phrase("section"), MARGIN_PX, font=sheet.font(1.1, bold=True)))
        sheet.y += leading * 1.1
        if rng.random() < 0.3:
            text = sheet.writer.paragraph(language, 2)
            sheet.lines(text, MARGIN_PX, SIZE_PX[0] - MARGIN_PX, leading=1.4 * sheet.type_px)
            sheet.y += 0.6 * sheet.type_px
        fields = sheet.fields("field", rng.randrange(6, 14))
        _set_fields(
            sheet, [field for i, field in enumerate(fields) if sheet.y + (i + 1) * leading < bottom], style, leading
        )
        sheet.y += leading
    return sheet.page()


def _set_fields(sheet: Sheet, fields: list[tuple[str, str]], style: Style, leading: float) -> None:
    """Set fields below one another; the values start where the longest label leaves room, or far to the right."""
    font, right = sheet.font(), SIZE_PX[0] - MARGIN_PX
    longest = max(font.getlength(label) for label, _ in fields)
    values_x = MARGIN_PX + longest + 1.5 * sheet.type_px
    if sheet.rng.random() < 0.4:
        values_x = max(values_x, MARGIN_PX + (right - MARGIN_PX) * sheet.rng.uniform(0.3, 0.45))
    if style == "two pairs in a row":
        _set_pairs(sheet, fields, leading)
        return
    for label, value in fields:
        match style:
            case "leader dots":
                sheet.put(sheet.place(label, MARGIN_PX), sheet.place(value, right, align="right"))
                dots_px = right - MARGIN_PX - font.getlength(label) - font.getlength(value) - 1.2 * sheet.type_px
                sheet.mark(
                    "." * int(dots_px / font.getlength(".")), MARGIN_PX + font.getlength(label) + 0.5 * sheet.type_px
                )
            case "labels to the right":
                _set_value(
                    sheet, [sheet.place(label, values_x - sheet.type_px, align="right")], value, values_x, leading
                )
            case "colons in a column":
                words = [sheet.place(label, MARGIN_PX), sheet.place(":", values_x - 0.7 * sheet.type_px)]
                _set_value(sheet, words, value, values_x, leading)
            case _:
                _set_value(sheet, [sheet.place(label, MARGIN_PX)], value, values_x, leading)
        sheet.y += leading


def _set_value(sheet: Sheet, words: list[Word], value: str, x: float, leading: float) -> None:
    """Set a label with its value, which goes on below when it is long."""
    first, *others = wrap(value, sheet.font(), SIZE_PX[0] - MARGIN_PX - x)
    sheet.put(*words, sheet.place(first, x))
    for line in others:
        sheet.y += min(leading, 1.4 * sheet.type_px)
        sheet.put(sheet.place(line, x))


def _set_pairs(sheet: Sheet, fields: list[tuple[str, str]], leading: float) -> None:
    """Set two fields in a row."""
    half = (SIZE_PX[0] - 2 * MARGIN_PX) / 2
    share = 0.42
    for one, other in zip(fields[::2], fields[1::2], strict=False):
        words = []
        for i, (label, value) in enumerate((one, other)):
            left = MARGIN_PX + i * half
            values_x = max(left + share * half, left + sheet.font().getlength(label) + sheet.type_px)
            if values_x + sheet.font().getlength(value) > left + half - sheet.type_px:
                continue
            words += [sheet.place(label, left), sheet.place(value, values_x)]
        if words:
            sheet.put(*words)
            sheet.y += leading

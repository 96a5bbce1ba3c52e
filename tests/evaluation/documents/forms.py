"""Forms that have been filled in: section bars, lines and boxes to write on, and check boxes."""

import random

from tests.evaluation.documents.sheet import MONO, SANS, SERIF, Sheet
from tests.evaluation.pages import WHITE, Page, Word
from tests.evaluation.writing import Language

SIZE_PX = (1240, 1754)
MARGIN_PX = 90
GREY, DARK = (214, 214, 214), (60, 60, 60)


def make_form(language: Language, rng: random.Random) -> Page:
    """Return a form of sections of three kinds: fields on lines, cells of labels and values, and check boxes."""
    face = rng.choice((SANS, SERIF))[language]
    sheet = Sheet(language, rng, SIZE_PX, face, rng.randrange(17, 22), y=MARGIN_PX)
    right, bottom = SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    sheet.put(sheet.place(sheet.phrase("form_title"), SIZE_PX[0] / 2, align="centre", font=sheet.font(1.5, bold=True)))
    sheet.y += 2.4 * sheet.type_px
    sheet.lines(sheet.phrase("form_note"), MARGIN_PX, right, leading=1.4 * sheet.type_px)
    leading = sheet.type_px * rng.uniform(2.0, 2.6)
    sections = [_set_lines, _set_cells, _set_choices]
    number = 0
    while sheet.y + 8 * leading < bottom:
        number += 1
        _set_bar(sheet, f"{number}. {sheet.phrase('section')}", is_dark=rng.random() < 0.4)
        rng.choice(sections if number > 1 else sections[:2])(sheet, leading)
        sheet.y += 0.8 * sheet.type_px
    _set_signatures(sheet, bottom)
    return sheet.page()


def _set_bar(sheet: Sheet, text: str, *, is_dark: bool) -> None:
    """Set a section's heading on a grey bar, or white on a dark one."""
    top = sheet.y
    sheet.panel(MARGIN_PX, top, SIZE_PX[0] - MARGIN_PX, top + 1.7 * sheet.type_px, fill=DARK if is_dark else GREY)
    sheet.y = top + 1.2 * sheet.type_px
    fill = WHITE if is_dark else None
    sheet.put(sheet.place(text, MARGIN_PX + 0.5 * sheet.type_px, font=sheet.font(bold=True), fill=fill))
    sheet.y = top + 1.7 * sheet.type_px


def _type(sheet: Sheet, text: str, x: float) -> Word:
    """Return a value as a typewriter or a printer puts it there: in its own type, and not quite on the base line."""
    y = sheet.y
    sheet.y += sheet.rng.uniform(-0.3, 0.1) * sheet.type_px
    word = sheet.place(text, x, font=MONO[sheet.language].at(sheet.type_px))
    sheet.y = y
    return word


def _set_lines(sheet: Sheet, leading: float) -> None:
    """Set one to three fields in a row, each value on a line that it does not fill."""
    for count in sheet.rng.choices((1, 2, 2, 3), k=sheet.rng.randrange(3, 6)):
        sheet.y += leading
        width = (SIZE_PX[0] - 2 * MARGIN_PX) / count
        words = []
        for i, (label, value) in enumerate(sheet.fields("field", count)):
            left, right = MARGIN_PX + i * width, MARGIN_PX + (i + 1) * width - sheet.type_px
            asked = label + ("：" if sheet.language == "zh" else ":")
            start = left + sheet.font().getlength(asked) + 0.7 * sheet.type_px
            words.append(sheet.place(asked, left))
            typed = _type(sheet, value, start + sheet.rng.uniform(0.2, 0.9) * sheet.type_px)
            if typed.box[2] < right:
                words.append(typed)
            y, sheet.y = sheet.y, sheet.y + 0.25 * sheet.type_px
            if start < right:
                sheet.rule(start, right)
            sheet.y = y
        sheet.put(*words)
    sheet.y += 0.7 * leading


def _set_cells(sheet: Sheet, leading: float) -> None:
    """Set cells with edges, two fields in a row: a grey cell with the label, a white one with the value."""
    share = 0.21 if sheet.language == "zh" else 0.25
    width = SIZE_PX[0] - 2 * MARGIN_PX
    edges = [MARGIN_PX + width * x for x in (0, share, 0.5, 0.5 + share, 1)]
    for _ in range(sheet.rng.randrange(3, 7)):
        top, bottom = sheet.y, sheet.y + leading
        sheet.y = (top + bottom) / 2 + 0.36 * sheet.type_px
        words = []
        texts = [text for field in sheet.fields("field", 2) for text in field]
        for i, (text, left, right) in enumerate(zip(texts, edges, edges[1:], strict=False)):
            sheet.panel(left, top, right, bottom, fill=GREY if i % 2 == 0 else WHITE, outline=DARK)
            x = left + 0.5 * sheet.type_px
            word = _type(sheet, text, x) if i % 2 else sheet.place(text, x)
            if word.box[2] < right:
                words.append(word)
        if words:
            sheet.put(*words)
        sheet.y = bottom
    sheet.y += 0.3 * leading


def _set_choices(sheet: Sheet, leading: float) -> None:
    """Set rows of check boxes, each before its choice, one of them ticked."""
    for _ in range(sheet.rng.randrange(2, 5)):
        sheet.y += leading
        label, *choices = sheet.parts("choice")
        words = [sheet.place(label, MARGIN_PX)]
        pitch = sheet.rng.uniform(6, 9) * sheet.type_px
        ticked = sheet.rng.randrange(len(choices))
        edge = 0.9 * sheet.type_px
        for i, choice in enumerate(choices):
            left = MARGIN_PX + 13 * sheet.type_px + i * pitch
            sheet.panel(left, sheet.y - edge, left + edge, sheet.y, outline=DARK)
            if i == ticked:
                sheet.mark("X", left + edge / 2, align="centre")
            words.append(sheet.place(choice, left + 1.5 * edge))
        sheet.put(*words)
    sheet.y += 0.7 * leading


def _set_signatures(sheet: Sheet, bottom: float) -> None:
    """Set the labels of date and signature below lines that are left blank."""
    sheet.y = bottom - 1.2 * sheet.type_px
    third = (SIZE_PX[0] - 2 * MARGIN_PX) / 3
    lefts = (MARGIN_PX, MARGIN_PX + 2 * third)
    for left in lefts:
        sheet.rule(left, left + third * 0.9)
    sheet.y = bottom
    texts = ("日期", "签名（盖章）") if sheet.language == "zh" else ("Date", "Signature of applicant")
    sheet.put(*(sheet.place(text, left) for text, left in zip(texts, lefts, strict=True)))

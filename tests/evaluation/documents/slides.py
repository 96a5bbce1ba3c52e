"""Slides: a coloured bar with the title above bullets, cards in columns or an agenda; in light and in dark colours."""

import random
from dataclasses import dataclass

from tests.evaluation.documents.sheet import SANS, Sheet
from tests.evaluation.pages import WHITE, Colour, Page
from tests.evaluation.typesetting import wrap
from tests.evaluation.writing import Language

SIZE_PX = (1920, 1080)
MARGIN_PX = 110


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a slide: paper, ink, the bar of the title and its text, panels, and grey for what matters less."""

    paper: Colour
    ink: Colour
    bar: Colour
    on_bar: Colour
    panel: Colour
    grey: Colour


LIGHT = (
    Theme(WHITE, (32, 32, 32), (31, 78, 121), WHITE, (226, 236, 246), (120, 120, 120)),
    Theme((250, 247, 240), (64, 48, 32), (192, 80, 40), WHITE, (240, 226, 208), (140, 128, 116)),
    Theme((238, 246, 244), (24, 56, 52), (0, 128, 116), (240, 255, 252), WHITE, (104, 132, 128)),
)
DARK = (
    Theme((20, 24, 40), (232, 236, 244), (20, 24, 40), (255, 196, 64), (44, 52, 80), (140, 148, 168)),
    Theme((36, 36, 36), (224, 224, 224), (72, 72, 72), WHITE, (58, 58, 58), (150, 150, 150)),
)


def make_slide(language: Language, rng: random.Random) -> Page:
    """Return a slide, dark on light."""
    return _make(language, rng, rng.choice(LIGHT))


def make_dark_slide(language: Language, rng: random.Random) -> Page:
    """Return a slide, light on dark."""
    return _make(language, rng, rng.choice(DARK))


def _make(language: Language, rng: random.Random, theme: Theme) -> Page:
    sheet = Sheet(language, rng, SIZE_PX, SANS[language], rng.randrange(32, 40), theme.paper, theme.ink)
    width, height = SIZE_PX
    sheet.panel(0, 0, width, 150, fill=theme.bar)
    sheet.y = 100
    title = sheet.font(1.7, bold=True)
    sheet.put(
        sheet.place(
            wrap(sheet.phrase("slide_title"), title, width - 2 * MARGIN_PX)[0], MARGIN_PX, font=title, fill=theme.on_bar
        )
    )
    sheet.y = 240
    rng.choice((*[_set_bullets] * 3, _set_cards, _set_agenda, *[_set_points] * 2))(sheet, theme)
    sheet.y = height - 40
    small = sheet.font(0.6)
    page_number = sheet.place(str(rng.randrange(2, 90)), width - MARGIN_PX, align="right", font=small, fill=theme.grey)
    sheet.put(sheet.place(sheet.phrase("footer"), MARGIN_PX, font=small, fill=theme.grey), page_number)
    return sheet.page()


def _set_bullets(sheet: Sheet, theme: Theme) -> None:
    """Set one to three columns of bullets, some of them with bullets of a second level; a column is read whole."""
    count = sheet.rng.choice((1, 2, 2, 3))
    width = (SIZE_PX[0] - 2 * MARGIN_PX) / count
    top = sheet.y
    for column in range(count):
        sheet.y = top
        left, right = MARGIN_PX + column * width, MARGIN_PX + (column + 1) * width - 2 * sheet.type_px
        if count > 1:
            sheet.put(sheet.place(sheet.phrase("card"), left, font=sheet.font(1.15, bold=True)))
            sheet.y += 1.9 * sheet.type_px
        for _ in range(sheet.rng.randrange(5, 7)):
            if sheet.y > SIZE_PX[1] - 7 * sheet.type_px:
                break
            _set_bullet(sheet, left, right)
            if sheet.rng.random() < 0.3 and sheet.y < SIZE_PX[1] - 7 * sheet.type_px:
                _set_bullet(sheet, left + 2 * sheet.type_px, right, sign="–", scale=0.85)


def _set_bullet(sheet: Sheet, left: float, right: float, *, sign: str = "•", scale: float = 1.0) -> None:
    """Set a bullet's text, indented; the sign belongs to the truth."""
    font = sheet.font(scale)
    text_x = left + 1.1 * sheet.type_px
    for i, line in enumerate(wrap(sheet.phrase("bullet"), font, right - text_x)):
        words = [] if i else [sheet.place(sign, left, font=font)]
        sheet.put(*words, sheet.place(line, text_x, font=font))
        sheet.y += 1.5 * font.size
    sheet.y += 0.5 * sheet.type_px


def _set_cards(sheet: Sheet, theme: Theme) -> None:
    """Set two to four panels side by side, each with a heading and a text; a panel is read whole."""
    count = sheet.rng.randrange(2, 5)
    gap = 40
    width = (SIZE_PX[0] - 2 * MARGIN_PX - (count - 1) * gap) / count
    top, bottom = sheet.y, SIZE_PX[1] - 160
    for column in range(count):
        left = MARGIN_PX + column * (width + gap)
        sheet.panel(left, top - 50, left + width, bottom, fill=theme.panel, radius_px=sheet.rng.choice((0, 20)))
        sheet.y = top + 20
        heading = sheet.font(1.1, bold=True)
        sheet.lines(sheet.phrase("card"), left + 30, left + width - 30, leading=1.5 * heading.size, font=heading)
        sheet.y += 0.4 * sheet.type_px
        font = sheet.font(0.85)
        for line in wrap(sheet.writer.paragraph(sheet.language, 3 + 5 // count), font, width - 60):
            if sheet.y < bottom - 20:
                sheet.put(sheet.place(line, left + 30, font=font))
                sheet.y += 1.5 * font.size


def _set_points(sheet: Sheet, theme: Theme) -> None:
    """Set rows of a short heading at the left, and a text at the right that has two lines as a rule.

    The heading is level with the first line, or with the middle of the text; it is read first.
    """
    fields, bold, font = sheet.fields("point", sheet.rng.randrange(4, 6)), sheet.font(bold=True), sheet.font(0.9)
    text_x = MARGIN_PX + max(bold.getlength(heading) for heading, _ in fields) + 1.8 * sheet.type_px
    right = min(SIZE_PX[0] - MARGIN_PX, text_x + sheet.rng.uniform(16, 22) * sheet.type_px)
    is_centred, line_px = sheet.rng.random() < 0.5, 1.35 * sheet.type_px
    for heading, text in fields:
        lines = wrap(text, font, right - text_x)
        top, bottom = sheet.y, sheet.y + (len(lines) - 1) * line_px
        sheet.y = (top + bottom) / 2 if is_centred else top
        words = [sheet.place(heading, MARGIN_PX, font=bold)]
        for i, line in enumerate(lines):
            sheet.y = top + i * line_px
            words.append(sheet.place(line, text_x, font=font))
        sheet.put(*words)
        sheet.y = bottom + 0.75 * sheet.type_px
        sheet.rule(MARGIN_PX, right, fill=theme.grey)
        sheet.y += 1.4 * sheet.type_px
        if sheet.y > SIZE_PX[1] - 190:
            break


def _set_agenda(sheet: Sheet, theme: Theme) -> None:
    """Set rows of a time, a subject and a speaker."""
    width = SIZE_PX[0] - 2 * MARGIN_PX
    xs = [MARGIN_PX + share * width for share in (0, 0.18, sheet.rng.uniform(0.62, 0.76))]
    for i in range(sheet.rng.randrange(6, 10)):
        texts = sheet.parts("agenda")
        if i % 2 == 0:
            sheet.panel(
                MARGIN_PX - 20,
                sheet.y - 1.35 * sheet.type_px,
                SIZE_PX[0] - MARGIN_PX + 20,
                sheet.y + 0.65 * sheet.type_px,
                fill=theme.panel,
            )
        sheet.put(*(sheet.place(text, x) for text, x in zip(texts, xs, strict=True)))
        sheet.y += 2.0 * sheet.type_px

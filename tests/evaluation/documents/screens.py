"""Screens of telephone apps: settings, orders, messages, articles; and long screenshots of them, to 30,000 px."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.evaluation.documents.sheet import SANS, Sheet
from tests.evaluation.pages import WHITE, Colour, Page
from tests.evaluation.typesetting import wrap
from tests.evaluation.values import amount, clock
from tests.evaluation.writing import Language

WIDTH_PX, HEIGHT_PX = 1080, 2340
LONG_PX = (range(8_000, 15_001), range(22_000, 30_001))
"""Heights of a screenshot that scrolls on: one in two pages has more text than most engines take at once."""

EDGE_PX = 44


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of an app: paper, cards, ink, grey text, hairlines, header and accent."""

    paper: Colour
    card: Colour
    ink: Colour
    grey: Colour
    hairline: Colour
    header: Colour
    accent: Colour


LIGHT = tuple(
    Theme((243, 244, 246), WHITE, (28, 28, 30), (142, 142, 147), (226, 226, 230), header, header)
    for header in ((22, 160, 133), (7, 94, 184), (216, 64, 48), (98, 76, 171))
)
DARK = (
    Theme((0, 0, 0), (28, 28, 30), (235, 235, 240), (142, 142, 147), (56, 56, 58), (28, 28, 30), (10, 132, 255)),
    Theme((18, 18, 18), (38, 38, 38), (225, 225, 225), (150, 150, 150), (64, 64, 64), (55, 0, 120), (187, 134, 252)),
)


def make_screen(language: Language, rng: random.Random) -> Page:
    """Return a screen of an app, dark on light."""
    return _make(language, rng, rng.choice(LIGHT), HEIGHT_PX)


def make_dark_screen(language: Language, rng: random.Random) -> Page:
    """Return a screen of an app, light on dark."""
    return _make(language, rng, rng.choice(DARK), HEIGHT_PX)


def make_long_screen(language: Language, rng: random.Random) -> Page:
    """Return a screenshot that scrolls on, one in four of them light on dark."""
    theme = rng.choice(DARK if rng.random() < 0.25 else LIGHT)
    return _make(language, rng, theme, rng.choice(rng.choice(LONG_PX)), type_px=32)


def _make(language: Language, rng: random.Random, theme: Theme, height: int, type_px: int = 0) -> Page:
    size_px = WIDTH_PX, height
    sheet = Sheet(language, rng, size_px, SANS[language], type_px or rng.randrange(30, 38), theme.paper, theme.ink)
    screen = _Screen(sheet, theme)
    screen.header()
    bottom = height - 180
    is_long = height > HEIGHT_PX
    blocks = [
        screen.settings,
        *[screen.details] * 5,
        screen.orders,
        screen.chat,
        screen.numbers,
        *[screen.article] * (3 if is_long else 1),
    ]
    while any(_advances(sheet, block, bottom) for block in rng.sample(blocks, len(blocks))):
        pass
    screen.tabs(height)
    return sheet.page()


def _advances(sheet: Sheet, block: Callable[[float], None], bottom: float) -> bool:
    """Set a block and return whether there was room for any of it."""
    top = sheet.y
    block(bottom)
    return sheet.y > top


class _Screen:
    """A screen that is being set; each block ends above the bottom that it is given."""

    def __init__(self, sheet: Sheet, theme: Theme) -> None:
        self.sheet, self.theme, self.rng = sheet, theme, sheet.rng
        self.left, self.right = float(EDGE_PX), float(WIDTH_PX - EDGE_PX)
        self.em = sheet.type_px
        self.small = sheet.font(0.78)

    def header(self) -> None:
        """Set the status bar and the title in white on the header's colour."""
        sheet = self.sheet
        sheet.panel(0, 0, WIDTH_PX, 210, fill=self.theme.header)
        sheet.y = 58
        status = sheet.place(clock(self.rng), self.left, font=self.small, fill=WHITE)
        charge = sheet.place(f"{self.rng.randrange(5, 100)}%", self.right, align="right", font=self.small, fill=WHITE)
        sheet.put(status, charge)
        sheet.y = 160
        title = sheet.font(1.25, bold=True)
        sheet.put(sheet.place(sheet.phrase("screen_title"), WIDTH_PX / 2, align="centre", font=title, fill=WHITE))
        sheet.y = 240

    def settings(self, bottom: float) -> None:
        """Set a list of labels at the left and grey values at the right, with hairlines."""
        sheet, row_px = self.sheet, 3.1 * self.em
        fields = sheet.fields("setting", self.rng.randrange(4, 8))
        fields = fields[: max(0, int((bottom - sheet.y - self.em) / row_px))]
        if not fields:
            return
        self._card(len(fields) * row_px)
        for label, value in fields:
            top, sheet.y = sheet.y, sheet.y + 0.5 * row_px + 0.36 * self.em
            value_word = sheet.place(value, self.right - 30, align="right", fill=self.theme.grey)
            sheet.put(sheet.place(label, self.left + 30), value_word)
            sheet.y = top + row_px
            sheet.rule(self.left + 30, self.right, fill=self.theme.hairline)
        sheet.y += 0.8 * self.em

    def details(self, bottom: float) -> None:
        """Set a receipt's details: grey labels at the left, values that go on below at the same edge."""
        sheet, line_px = self.sheet, 1.5 * self.em
        fields, font = sheet.fields("detail", self.rng.randrange(8, 13)), sheet.font(0.9)
        values_x = self.left + 30 + max(font.getlength(label) for label, _ in fields) + 1.2 * self.em
        values = [wrap(value, font, self.right - 30 - values_x) for _, value in fields]
        height = (sum(map(len, values)) * 1.5 + 0.6 * len(values) + 1.4) * self.em
        if sheet.y + height > bottom:
            return
        top = sheet.y
        self._card(height)
        sheet.y += 1.9 * self.em
        for (label, _), lines in zip(fields, values, strict=True):
            sheet.put(
                sheet.place(label, self.left + 30, font=font, fill=self.theme.grey),
                sheet.place(lines[0], values_x, font=font),
            )
            for line in lines[1:]:
                sheet.y += line_px
                sheet.put(sheet.place(line, values_x, font=font))
            sheet.y += line_px + 0.6 * self.em
        sheet.y = top + height + 0.8 * self.em

    def orders(self, bottom: float) -> None:
        """Set orders: shop and state, article and price, date and quantity, and the sum at the right."""
        sheet, height = self.sheet, 10.4 * self.em
        currency = "¥" if sheet.language == "zh" else "$"
        for _ in range(self.rng.randrange(1, 4)):
            if sheet.y + height > bottom:
                return
            top = sheet.y
            self._card(height)
            left = self.left + 30
            sheet.y = top + 1.6 * self.em
            state = sheet.place(sheet.phrase("order_state"), self.right - 30, align="right", fill=self.theme.accent)
            shop = wrap(sheet.phrase("shop"), sheet.font(bold=True), state.x - left - self.em)[0]
            sheet.put(sheet.place(shop, left, font=sheet.font(bold=True)), state)
            sheet.panel(left, top + 2.8 * self.em, left + 5 * self.em, top + 7.8 * self.em, fill=self.theme.hairline)
            left += 5.6 * self.em
            sheet.y = top + 3.9 * self.em
            price = sheet.place(currency + amount(self.rng), self.right - 30, align="right")
            article = wrap(sheet.phrase("order"), sheet.font(), price.x - left - self.em)[0]
            sheet.put(sheet.place(article, left), price)
            sheet.y += 1.6 * self.em
            day = sheet.place(
                f"2025-{self.rng.randrange(1, 13):02}-{self.rng.randrange(1, 29):02}",
                left,
                font=self.small,
                fill=self.theme.grey,
            )
            quantity = sheet.place(
                f"x{self.rng.randrange(1, 9)}", self.right - 30, align="right", font=self.small, fill=self.theme.grey
            )
            sheet.put(day, quantity)
            sheet.y = top + 9.3 * self.em
            sheet.put(
                sheet.place(sheet.phrase("order_total"), self.right - 30, align="right", font=sheet.font(bold=True))
            )
            sheet.y = top + height + 0.8 * self.em

    def chat(self, bottom: float) -> None:
        """Set messages in bubbles, those of one's own at the right on the accent's colour, below a centred time."""
        sheet, line_px = self.sheet, 1.45 * self.em
        if sheet.y + 9 * self.em > bottom:
            return
        sheet.y += 1.2 * self.em
        sheet.put(sheet.place(clock(self.rng), WIDTH_PX / 2, align="centre", font=self.small, fill=self.theme.grey))
        sheet.y += 1.2 * self.em
        for _ in range(self.rng.randrange(2, 6)):
            lines = wrap(sheet.phrase("chat"), sheet.font(), 0.62 * WIDTH_PX)
            height = (len(lines) - 1) * line_px + 2.4 * self.em
            if sheet.y + height > bottom:
                break
            width = max(map(sheet.font().getlength, lines)) + 1.6 * self.em
            is_own, top = self.rng.random() < 0.5, sheet.y
            left = self.right - 110 - width if is_own else self.left + 110
            fill = self.theme.header if is_own else self.theme.card
            sheet.panel(left, top, left + width, top + height, fill=fill, radius_px=24)
            avatar_x = self.right - 90 if is_own else self.left
            sheet.panel(avatar_x, top, avatar_x + 90, top + 90, fill=self.theme.hairline, radius_px=45)
            sheet.y = top + 1.55 * self.em
            for line in lines:
                sheet.put(sheet.place(line, left + 0.8 * self.em, fill=WHITE if is_own else None))
                sheet.y += line_px
            sheet.y = top + height + 0.9 * self.em

    def numbers(self, bottom: float) -> None:
        """Set three or four large numbers in a row, and a row of grey labels below them."""
        sheet, height = self.sheet, 4.6 * self.em
        if sheet.y + height > bottom:
            return
        top = sheet.y
        self._card(height)
        labels = sheet.parts("stat")[: self.rng.randrange(3, 5)]
        pitch = (self.right - self.left) / len(labels)
        centres = [self.left + (i + 0.5) * pitch for i in range(len(labels))]
        sheet.y = top + 2.1 * self.em
        texts = [f"{self.rng.randrange(1, 9_999):,}{self.rng.choice(('', '', '+'))}" for _ in labels]
        large = sheet.font(1.3, bold=True)
        sheet.put(*(sheet.place(text, x, align="centre", font=large) for text, x in zip(texts, centres, strict=True)))
        sheet.y += 1.6 * self.em
        words = [
            sheet.place(text, x, align="centre", font=self.small, fill=self.theme.grey)
            for text, x in zip(labels, centres, strict=True)
        ]
        sheet.put(*words)
        sheet.y = top + height + 0.8 * self.em

    def article(self, bottom: float) -> None:
        """Set a heading, the author and the date at both ends of a row, and paragraphs."""
        sheet, line_px = self.sheet, 1.6 * self.em
        if sheet.y + 8 * self.em > bottom:
            return
        sheet.y += 1.6 * self.em
        heading = sheet.font(1.25, bold=True)
        sheet.lines(sheet.phrase("title"), self.left, self.right, leading=1.4 * heading.size, font=heading)
        author, date = sheet.phrase("field").split("|")[0], clock(self.rng)
        words = (
            sheet.place(author, self.left, font=self.small, fill=self.theme.grey),
            sheet.place(date, self.right, align="right", font=self.small, fill=self.theme.grey),
        )
        sheet.put(*words)
        sheet.y += 1.9 * self.em
        for _ in range(self.rng.randrange(1, 4)):
            for line in wrap(
                sheet.writer.paragraph(sheet.language, self.rng.randrange(2, 5)), sheet.font(), self.right - self.left
            ):
                if sheet.y > bottom:
                    return
                sheet.put(sheet.place(line, self.left))
                sheet.y += line_px
            sheet.y += 0.6 * self.em

    def tabs(self, height: int) -> None:
        """Set the bar of tabs at the foot of the screen."""
        sheet = self.sheet
        sheet.panel(0, height - 150, WIDTH_PX, height, fill=self.theme.card)
        texts = ("首页", "发现", "消息", "我的") if sheet.language == "zh" else ("Home", "Search", "Inbox", "Profile")
        sheet.y = height - 40
        centres = [WIDTH_PX * (i + 0.5) / len(texts) for i in range(len(texts))]
        for x in centres:
            sheet.panel(x - 24, height - 130, x + 24, height - 82, fill=self.theme.hairline, radius_px=12)
        sheet.put(
            *(
                sheet.place(text, x, align="centre", font=self.small, fill=self.theme.grey)
                for text, x in zip(texts, centres, strict=True)
            )
        )

    def _card(self, height: float) -> None:
        top = self.sheet.y
        self.sheet.panel(self.left, top, self.right, top + height, fill=self.theme.card, radius_px=24)

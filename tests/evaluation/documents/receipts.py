"""Receipts as a till prints them: a shop's head, articles with amounts, totals, a tax summary and thanks."""

import random

from PIL import ImageFont

from tests.evaluation.documents.sheet import MONO, NARROW, Sheet
from tests.evaluation.pages import Page
from tests.evaluation.typesetting import wrap
from tests.evaluation.values import amount, digits
from tests.evaluation.writing import Language

COLUMNS = 42
"""Half-width characters in a line of a thermal printer for paper of 80 mm (Epson TM-T88, font A)."""

MARGIN_EM = 1.4


def make_receipt(language: Language, rng: random.Random) -> Page:
    """Return a receipt, as long as its articles take."""
    type_px = rng.randrange(18, 27)
    face = (MONO if rng.random() < 0.7 else NARROW)[language]
    width = round(COLUMNS * type_px * 0.6 + 2 * MARGIN_EM * type_px)
    sheet = Sheet(language, rng, (width, 0), face, type_px, y=2.5 * type_px)
    receipt = _Receipt(sheet)
    receipt.head()
    receipt.fields()
    receipt.articles(rng.randrange(4, 12))
    receipt.totals()
    receipt.foot()
    return sheet.page(margin_px=2 * type_px)


class _Receipt:
    """A receipt that is being set."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.rng = sheet.rng
        self.left = MARGIN_EM * sheet.type_px
        self.right = sheet.width - self.left
        self.leading = sheet.type_px * sheet.rng.uniform(1.16, 1.5)
        self.currency = sheet.phrase("currency")
        self.currency_x = self.right - sheet.font(1.2, bold=True).getlength("00,000.00")
        self.colon = "：" if sheet.language == "zh" else ": "
        self.dash = self.rng.choice("--=*")
        self.sum_cents = 0

    def head(self) -> None:
        """Set the shop's name, its address and the receipt's title, centred."""
        sheet = self.sheet
        self._centred(sheet.phrase("shop"), sheet.font(1.25, bold=True))
        for kind in ("street", "town", *["contact"] * self.rng.randrange(1, 4)):
            self._centred(sheet.phrase(kind))
        self._dashes()
        self._centred(sheet.phrase("receipt_title"), sheet.font(bold=self.rng.random() < 0.5))
        self._dashes()

    def fields(self) -> None:
        """Set the receipt's number, date and the like, with the colons one below another or two fields in a row."""
        sheet = self.sheet
        values_x = self.left + sheet.type_px * (7.0 if sheet.language == "en" else 6.0)
        for label, value in sheet.fields("receipt_field", self.rng.randrange(4, 8)):
            if sheet.font().getlength(f"{label} ") > values_x - self.left:
                sheet.put(sheet.place(f"{label}{self.colon}{value}", self.left))
            else:
                sheet.put(sheet.place(label, self.left), sheet.place(f"{self.colon}{value}", values_x))
            sheet.y += self.leading
        self._dashes()

    def articles(self, count: int) -> None:
        """Set the articles: in one row each, or the name above quantity, price and amount."""
        sheet = self.sheet
        edges = [self.left + (self.right - self.left) * share for share in (0.6, 0.8, 1.0)]
        first, *others = sheet.parts("item_columns")
        sheet.put(
            sheet.place(first, self.left),
            *(sheet.place(text, x, align="right") for text, x in zip(others, edges, strict=True)),
        )
        sheet.y += self.leading
        self._dashes()
        in_one_row = self.rng.random() < 0.35
        for number in range(1, count + 1):
            quantity, price_cents = self.rng.choice((1, 1, 1, 2, 3, 6)), self.rng.randrange(50, 15_000)
            self.sum_cents += quantity * price_cents
            cells = [str(quantity), _money(price_cents), _money(quantity * price_cents)]
            if in_one_row:
                self._article_in_row(sheet.phrase("item"), cells, edges)
            else:
                self._article_in_two_rows(f"{number}. {sheet.phrase('item')}", cells)
        self._dashes()

    def totals(self) -> None:
        """Set the totals: labels at the left or indented, amounts at the right, the currency between them."""
        tax_cents = round(self.sum_cents * 0.06)
        rows = [
            ("total", _money(self.sum_cents)),
            ("reduction", f"-{amount(self.rng)}" if self.rng.random() < 0.4 else "0.00"),
            ("tax", _money(tax_cents)),
            ("rounding", "0.0" + self.rng.choice("0123")),
            ("grand_total", _money(self.sum_cents + tax_cents)),
            ("payment", _money(self.sum_cents + tax_cents + self.rng.choice((0, 500, 1_235)))),
            ("change", amount(self.rng)),
        ]
        labels_x = self.left + self.rng.choice((0.0, 0.25)) * (self.right - self.left)
        for kind, value in rows:
            is_grand = kind == "grand_total"
            if not is_grand and kind != "total" and self.rng.random() < 0.15:
                continue
            self._amount(
                self.sheet.phrase(kind), value, labels_x, self.sheet.font(1.2 if is_grand else 1, bold=is_grand)
            )
        self._dashes()
        if self.rng.random() < 0.6:
            self._tax_summary(tax_cents)

    def foot(self) -> None:
        """Set a bar code with its number, and thanks."""
        sheet = self.sheet
        sheet.y += self.leading
        for _ in range(self.rng.randrange(1, 4)):
            for line in wrap(sheet.phrase("thanks"), sheet.font(), self.right - self.left):
                self._centred(line)
        if self.rng.random() < 0.5:
            x, top = self.left + sheet.type_px, sheet.y - 0.5 * sheet.type_px
            while x < self.right - sheet.type_px:
                bar = self.rng.choice((2, 2, 4, 6))
                sheet.panel(x, top, x + bar, top + 3 * sheet.type_px, fill=sheet.ink)
                x += bar + self.rng.choice((2, 4, 6))
            sheet.y = top + 4.3 * sheet.type_px
            self._centred(digits(self.rng, 13))

    def _article_in_row(self, name: str, cells: list[str], edges: list[float]) -> None:
        sheet = self.sheet
        lines = wrap(name, sheet.font(), edges[0] - self.left - 2.5 * sheet.type_px)
        words = [sheet.place(text, x, align="right") for text, x in zip(cells, edges, strict=True)]
        sheet.put(sheet.place(lines[0], self.left), *words)
        sheet.y += self.leading
        for line in lines[1:]:
            sheet.put(sheet.place(line, self.left))
            sheet.y += self.leading

    def _article_in_two_rows(self, name: str, cells: list[str]) -> None:
        sheet = self.sheet
        for line in wrap(name, sheet.font(), self.right - self.left):
            sheet.put(sheet.place(line, self.left))
            sheet.y += self.leading
        price = sheet.place(f"{cells[0]} x {cells[1]}", self.left + 2 * sheet.type_px)
        sheet.put(price, sheet.place(cells[2], self.right, align="right"))
        sheet.y += self.leading

    def _amount(self, label: str, value: str, labels_x: float, font: ImageFont.FreeTypeFont) -> None:
        sheet = self.sheet
        sheet.y += self.leading * (font.size / sheet.type_px - 1)
        words = [sheet.place(label, labels_x, font=font), sheet.place(value, self.right, align="right", font=font)]
        if len(self.currency) > 1 and words[0].box[2] < self.currency_x - 3 * sheet.type_px:
            words.insert(1, sheet.place(self.currency, self.currency_x, align="right", font=font))
        elif len(self.currency) == 1:
            words[1] = sheet.place(self.currency + value, self.right, align="right", font=font)
        sheet.put(*words)
        sheet.y += self.leading

    def _tax_summary(self, tax_cents: int) -> None:
        sheet = self.sheet
        xs = (self.left, self.left + (self.right - self.left) * 0.68, self.right)
        table = [sheet.parts("tax_summary")]
        table += [[sheet.phrase("tax_code"), _money(self.sum_cents), _money(tax_cents)]]
        for cells in table:
            first, *others = (
                sheet.place(text, x, align="left" if x == self.left else "right")
                for text, x in zip(cells, xs, strict=True)
            )
            sheet.put(first, *others)
            sheet.y += self.leading
        self._dashes()

    def _centred(self, text: str, font: ImageFont.FreeTypeFont | None = None) -> None:
        for line in wrap(text, font or self.sheet.font(), self.right - self.left):
            self.sheet.put(self.sheet.place(line, self.sheet.width / 2, align="centre", font=font))
            self.sheet.y += self.leading * (font.size if font else self.sheet.type_px) / self.sheet.type_px

    def _dashes(self) -> None:
        """Set a line of dashes, equals signs or stars, or draw a rule."""
        sheet = self.sheet
        if self.rng.random() < 0.25:
            sheet.y -= self.leading * 0.5
            sheet.rule(self.left, self.right, thickness_px=2)
            sheet.y += self.leading
        else:
            count = int((self.right - self.left) / sheet.font().getlength(self.dash))
            sheet.mark(self.dash * count, self.left)
            sheet.y += self.leading


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f}"

"""Pages of vertical writing, as in Chinese newspapers: tiers of columns that are read from right to left."""

from tests.evaluation.pages import SIZE_PX, Word
from tests.evaluation.typesetting import LEADING_EM, MARGIN_PX, Typesetter, wrap
from tests.evaluation.writing import in_chinese_numerals

TITLE_SCALE = 1.7
GAP_EM = 1.6
"""Height of the white between two tiers, with a rule in its middle."""


def set_tiers(typesetter: Typesetter) -> None:
    """Fill a page with one to three tiers, read from top to bottom; the first begins with a title at its right."""
    count = typesetter.rng.randrange(1, 4)
    gap = GAP_EM * typesetter.type_px
    height = (SIZE_PX[1] - 2 * MARGIN_PX - gap * (count - 1)) / count
    for tier in range(count):
        typesetter.y = MARGIN_PX + tier * (height + gap)
        right: float = SIZE_PX[0] - MARGIN_PX
        if tier:
            middle = typesetter.y - gap / 2
            typesetter.rules.append((MARGIN_PX, middle, right, middle + 2))
        else:
            right = _title(typesetter, right, height)
        while right - typesetter.type_px > MARGIN_PX:
            right = _paragraph(typesetter, right, height)


def _title(typesetter: Typesetter, right: float, height: float) -> float:
    """Set a title in larger type; return the right edge of the next column."""
    size_px = round(typesetter.type_px * TITLE_SCALE)
    text = in_chinese_numerals(typesetter.writer.title(typesetter.language))
    return _columns(typesetter, text, size_px, right, height, bold=True) - typesetter.type_px * 0.5


def _paragraph(typesetter: Typesetter, right: float, height: float) -> float:
    text = in_chinese_numerals(typesetter.writer.paragraph(typesetter.language, typesetter.rng.randrange(3, 6)))
    return _columns(typesetter, text, typesetter.type_px, right, height, indent_px=2 * typesetter.type_px)


def _columns(
    typesetter: Typesetter,
    text: str,
    size_px: int,
    right: float,
    height: float,
    *,
    indent_px: float = 0,
    bold: bool = False,
) -> float:
    """Set a text in columns from the right edge to the left margin; return the right edge of the next column."""
    font = typesetter.face.at(size_px, bold=bold)
    for i, column in enumerate(wrap(text, font, height, indent_px)):
        if right - size_px < MARGIN_PX:
            break
        word = Word(column, right - size_px, typesetter.y + (0 if i else indent_px), font, "ttb")
        typesetter.rows.append((word,))
        right -= size_px * LEADING_EM
    return right

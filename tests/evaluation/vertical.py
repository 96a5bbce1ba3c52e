"""Pages as newspapers and books were set for centuries: columns from the top, read from the right, in tiers."""

from tests.evaluation.pages import SIZE_PX, Word
from tests.evaluation.setting import LEADING_EM, MARGIN_PX, Setter, wrap
from tests.evaluation.writing import in_figures

TITLE_SCALE = 1.7
GAP_EM = 1.6
"""White between two tiers, a rule in its middle."""


def set_tiers(setter: Setter) -> None:
    """Fill a page with one to three tiers, read from the top; a title stands at the right of the first."""
    count = setter.source.randrange(1, 4)
    gap = GAP_EM * setter.type_px
    height = (SIZE_PX[1] - 2 * MARGIN_PX - gap * (count - 1)) / count
    for tier in range(count):
        setter.y = MARGIN_PX + tier * (height + gap)
        right: float = SIZE_PX[0] - MARGIN_PX
        if tier:
            middle = setter.y - gap / 2
            setter.rules.append((MARGIN_PX, middle, right, middle + 2))
        else:
            right = _title(setter, right, height)
        while right - setter.type_px > MARGIN_PX:
            right = _paragraph(setter, right, height)


def _title(setter: Setter, right: float, height: float) -> float:
    """Set a title in larger type, and return the right edge of what follows."""
    size_px = round(setter.type_px * TITLE_SCALE)
    text = in_figures(setter.writer.title(setter.language))
    return _columns(setter, text, size_px, right, height, bold=True) - setter.type_px * 0.5


def _paragraph(setter: Setter, right: float, height: float) -> float:
    text = in_figures(setter.writer.paragraph(setter.language, setter.source.randrange(3, 6)))
    return _columns(setter, text, setter.type_px, right, height, indent_px=2 * setter.type_px)


def _columns(
    setter: Setter, text: str, size_px: int, right: float, height: float, *, indent_px: float = 0, bold: bool = False
) -> float:
    """Set a text from the right edge leftwards, cut at the left margin; return where it ends."""
    font = setter.face.at(size_px, bold=bold)
    for i, column in enumerate(wrap(text, font, height, indent_px)):
        if right - size_px < MARGIN_PX:
            break
        word = Word(column, right - size_px, setter.y + (0 if i else indent_px), font, "ttb")
        setter.rows.append((word,))
        right -= size_px * LEADING_EM
    return right

"""How a page was corrected before it was sent, and where a place of the sent image is in the source.

Coordinates are continuous: (0, 0) is the outer corner of the first pixel, (width, height) that of the last.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Corrections:
    """How a page was corrected, as `--auto-rotate`, `--deskew` and `--contrast` ask for.

    Attributes:
        turned_deg: Clockwise turn that made its text upright: 0, 90, 180 or 270; `Prep.rotation_deg` includes it.
        deskewed_deg: Clockwise turn after that, which made its lines level.
        levels: The level that became black, then the level of each channel that became white; None where the tone is
            the source's.
        to_source: (a, b, c, d, e, f): the place (x, y) of the sent image is at (a·x + b·y + c, d·x + e·y + f) in the
            image as its file stores it, before any turn.
    """

    turned_deg: int
    deskewed_deg: float
    levels: tuple[int, ...] | None
    to_source: tuple[float, float, float, float, float, float]

    def source_point(self, x: float, y: float) -> tuple[float, float]:
        """Return where a place of the sent image is in the image that the file stores, in px of each."""
        a, b, c, d, e, f = self.to_source
        return a * x + b * y + c, d * x + e * y + f

    def sent_point(self, x: float, y: float) -> tuple[float, float]:
        """Return where a place of the image that the file stores is in the sent image, in px of each."""
        a, b, c, d, e, f = self.to_source
        area = a * e - b * d
        return (e * (x - c) - b * (y - f)) / area, (a * (y - f) - d * (x - c)) / area

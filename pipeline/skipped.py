"""Why a page was not sent."""

from dataclasses import dataclass
from typing import Final

BLANK: Final = "blank"
SMALLER: Final = "smaller"
"""Values of `Skipped.reason`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a page is not worth a call.

    Attributes:
        reason: `BLANK` or `SMALLER`.
        measure: Of a blank page, its ink in units of the least that counts, below 1; else its longer edge in px.
    """

    reason: str
    measure: float

"""Numbers of pages as the user writes them: "1-3,10-"."""

import re
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"\s*(\d{1,9})\s*(?:(-)\s*(\d{1,9})?\s*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PageRanges:
    """Numbers of pages, 1-based.

    Attributes:
        ranges: First and last number of each range; None for an open end.
    """

    ranges: tuple[tuple[int, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> "PageRanges":
        """Return the numbers of a list of pages and ranges, divided by commas.

        Raises:
            ValueError: it is something else, or a range is empty.
        """
        return cls(tuple(_parse_range(part) for part in text.split(",")))

    def __contains__(self, page: int) -> bool:
        """Return whether a page is among them."""
        return any(first <= page and (last is None or page <= last) for first, last in self.ranges)


def _parse_range(text: str) -> tuple[int, int | None]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"no page or range of pages: '{text}'")
    first = int(match[1])
    last = int(match[3]) if match[3] else None if match[2] else first
    if first < 1 or (last is not None and last < first):
        raise ValueError(f"an empty range of pages: '{text}'")
    return first, last

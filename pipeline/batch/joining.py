"""Joins the texts of a page's tiles; what two tiles both hold is kept once.

Only texts are known, not where their lines are. Tiles that meet in a blank band share no print, so their texts follow
one another as they are. Where the border goes through print, the end of one text and the beginning of the next are
aligned line by line, as far as the strip that both tiles hold can reach. What cannot be matched is kept: a line may be
there twice then, and none is lost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from pipeline.tiles import Tile

_ALIKE: Final = 0.85
_ALIKE_ALONE: Final = 0.92
"""Least likeness, 0 to 1, of two readings of a whole line, in a match of several lines and of one. Tried on 3,000 pages
of lines of five words out of eleven, with errors of reading and lines cut at the border: no line was lost."""
_CUT_ALIKE: Final = 0.5
"""Least likeness of the first or last line of a match of several, of which one reading is of a part of the line."""
_FRAGMENT_ALIKE: Final = 0.35
"""Least likeness of the reading of a part of a line to the line beside the match, for which it is dropped."""
_TELLING_LENGTH: Final = 8
"""A line of fewer characters says less about where two texts match."""
_MAX_FRAGMENTS: Final = 2
"""Readings of a line that the border cuts: it may be two columns' lines."""
_LEAST_LINE_PX: Final = 12
"""A line of text takes at least this much of a page's height."""
_DENSEST: Final = 2.0
"""The strip may hold lines this many times as dense as the tile's mean."""
_UNLIKELY: Final = 0.5
"""Fewer lines than this are rather none."""
_LEAST_SHARED: Final = 3
"""Least number of characters that the halves of a row must share where they are joined."""


@dataclass(frozen=True, slots=True)
class TileText:
    """A tile and its text."""

    tile: Tile
    text: str


def join_texts(parts: Sequence[TileText]) -> str:
    """Return the text of a page from those of its tiles, in their order."""
    texts = [part.text.strip("\n") for part in parts]
    joined = texts[0]
    for before, part, text in zip(parts, parts[1:], texts[1:], strict=False):
        if not joined.strip() or not text.strip():
            joined = joined if text.strip() == "" else text
        elif _is_tall(before.tile, part.tile):
            joined = _join_below(joined, before, part, text)
        else:
            joined = _join_beside(joined, before, part, text)
    return joined


def _is_tall(before: Tile, tile: Tile) -> bool:
    return before.box[1] != tile.box[1]


def _join_below(joined: str, before: TileText, part: TileText, text: str) -> str:
    if part.tile.joint == "blank":
        return f"{joined}\n{text}"
    shared_px = before.tile.box[3] - part.tile.box[1]
    upper, lower = joined.split("\n"), text.split("\n")
    pitch_px = min(
        before.tile.size_px[1] / max(1, before.text.count("\n") + 1), part.tile.size_px[1] / max(1, len(lower))
    )
    expected = shared_px / max(pitch_px, _LEAST_LINE_PX)
    most = min(math.ceil(shared_px / _LEAST_LINE_PX), math.ceil(expected * _DENSEST) + 1)
    return "\n".join(join_lines(upper, lower, expected=expected, most=most))


def join_lines(upper: Sequence[str], lower: Sequence[str], *, expected: float, most: int) -> list[str]:
    """Return the lines of two tiles; the last ones of the upper and the first ones of the lower may be the same.

    Args:
        upper: Lines of the upper tile; its last one may be cut by the border.
        lower: Lines of the lower tile; its first one may be cut by the border.
        expected: Number of lines that both tiles are likely to hold: of several equal matches the nearest one is taken.
        most: Greatest number of lines that both can hold.
    """
    best: tuple[float, float, int, int, int] | None = None
    for tail in range(_MAX_FRAGMENTS + 1):
        for head in range(_MAX_FRAGMENTS + 1):
            for number in range(1, most + 1):
                if number + tail > min(len(upper), most + _MAX_FRAGMENTS) or number + head > len(lower):
                    break
                likeness = _likeness(upper[len(upper) - tail - number : len(upper) - tail], lower[head : head + number])
                if likeness is None:
                    continue
                score = (likeness - 0.5 * (tail + head), -abs(number - expected))
                # Rows that are all alike match at any number: the strip's height then tells how many they are.
                is_repeated = best is not None and _are_same(upper[-best[2] - best[3] :]) and _are_same(lower[:number])
                key = (-(tail + head), score[1]) if is_repeated else score
                former = (-(best[3] + best[4]), best[1]) if is_repeated and best is not None else best
                if former is None or key > former[:2]:
                    best = (*score, number, tail, head)
    if best is None or (_are_same(upper[-best[2] :]) and _are_same(lower[: best[2]]) and expected < _UNLIKELY):
        return [*upper, *lower]
    _, _, number, tail, head = best
    return _merge(upper, lower, number, tail, head)


def _merge(upper: Sequence[str], lower: Sequence[str], number: int, tail: int, head: int) -> list[str]:
    """Join the lines at a match; what stands around it and is no fragment of a line beside it is kept."""
    end = len(upper) - tail
    kept = [line for line in upper[end:] if not _is_fragment(line, lower[head + number : head + number + 1 + tail])]
    first = [
        line for line in lower[:head] if not _is_fragment(line, upper[max(0, end - number - 1 - head) : end - number])
    ]
    # The border cuts the lower tile's first lines and the upper tile's last ones: each is taken from where it is whole.
    half = number - number // 2
    both = [
        _whole(upper[end - number + i], lower[head + i]) if number == 1
        else upper[end - number + i] if i < half
        else lower[head + i]
        for i in range(number)
    ]  # fmt: skip
    return [*upper[: end - number], *first, *both, *kept, *lower[head + number :]]


def _likeness(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Return how much pairs of lines speak for a match: up to 1 for each, less for those that are not quite the same.

    None when a pair is not alike, but for the first or last one, which a border may have cut.
    """
    total, cut = 0.0, 0
    for position, (left, right) in enumerate(zip(one, other, strict=True)):
        alike = _alike(left, right)
        if alike < _ALIKE or _digits(left) != _digits(right):
            cut += 1
            if alike < _CUT_ALIKE or position not in {0, len(one) - 1} or cut == len(one):
                return None
            continue
        if len(one) == 1 and alike < _ALIKE_ALONE:
            return None
        total += (1 - 4 * (1 - alike)) * min(1, len("".join(left.split())) / _TELLING_LENGTH)
    return total


def _digits(line: str) -> str:
    return "".join(filter(str.isdigit, line))


def _alike(left: str, right: str) -> float:
    """Return how alike two lines are, from 0 to 1, white space aside."""
    a, b = "".join(left.split()), "".join(right.split())
    if a == b:
        return 1.0
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= _FRAGMENT_ALIKE else 0.0


def _are_same(lines: Sequence[str]) -> bool:
    return len(set(lines)) == 1


def _is_fragment(line: str, whole: Sequence[str]) -> bool:
    """Return whether a line may be what was read of one of these lines, cut."""
    stripped = "".join(line.split())
    return not stripped or any(_alike(line, each) >= _FRAGMENT_ALIKE for each in whole)


def _whole(left: str, right: str) -> str:
    """Return the reading of a line that has more of it."""
    return right if len("".join(right.split())) > len("".join(left.split())) else left


def _join_beside(joined: str, before: TileText, part: TileText, text: str) -> str:
    """Join the texts of tiles side by side: row by row where the rows go on, else one tile after the other."""
    left, right = joined.split("\n"), text.split("\n")
    if part.tile.joint == "blank":
        if len(left) == len(right) == 1:
            return f"{joined} {text}"
        return f"{joined}\n{text}"
    shared_share = (before.tile.box[2] - part.tile.box[0]) / part.tile.size_px[0]
    if len(left) == len(right):
        rows = [_join_row(a, b, shared_share) for a, b in zip(left, right, strict=True)]
        if all(row is not None for row in rows):
            return "\n".join(row for row in rows if row is not None)
    return f"{joined}\n{text}"


def _join_row(left: str, right: str, shared_share: float) -> str | None:
    """Return a row whose halves share an end and a beginning; None when they do not.

    Args:
        left: Its left half.
        right: Its right half.
        shared_share: Share of the right tile's width that both tiles hold.
    """
    expected = max(1.0, len(right) * shared_share)
    most = min(len(left), len(right), math.ceil(expected * _DENSEST) + _LEAST_SHARED)
    best: tuple[float, int, int, int] | None = None
    for tail in range(3):
        for head in range(3):
            for number in range(min(_LEAST_SHARED, most), most + 1):
                if number + tail > len(left) or number + head > len(right):
                    break
                end = len(left) - tail
                if left[end - number : end] == right[head : head + number]:
                    key = (-(tail + head) - abs(number - expected) / 4, number, tail, head)
                    best = key if best is None or key > best else best
    if best is None:
        return None
    _, number, tail, head = best
    return left[: len(left) - tail] + right[head + number :]

"""Cells of several lines: lines that belong together although other cells are level with none of them.

A long name in a narrow cell is set in two lines, and the single lines of the other cells are centred beside them:

    Provincial Tobacco
                         652,418,000     18.06 %
    Company of Chengdu

By rows of lines this is three rows, or two with the numbers in either of them. The lines of such a *stack* are
recognised by an *anchor*: a box in another column whose axis is that of the stack as a whole, while no box is level
with its outer lines. They are read as one cell, in the row of their anchor. Lengths are in heights of a line.

In other tables the other cells are level with the first line, and no box with the lines below it. As an item of a list
may have lines of its own below it, such stacks count when a column has several, and more white between them than
between their lines.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pipeline.engine.rows import Box, ByAxis

MAX_STACK: Final = 3
"""Lines of the highest cell."""

MIN_SHARED_WIDTH: Final = 0.5
"""Lines of a cell, and boxes of a column, share at least this part of the smaller width."""

MAX_LEADING: Final = 0.4
"""White between the lines of a cell."""

TOLERANCE: Final = 0.25
MAX_OFF: Final = 0.33
"""Distance of the axes of a stack and its anchor, and difference of the distances of its lines, in the latter; and
distance of the axis of any box beside the stack, as the far end of a row may not be level with it."""

MIN_OUTER_PITCH: Final = 1.03
MIN_REPEATED: Final = 2
MIN_REPEATED_OUTER_PITCH: Final = 0.9
MORE_IF_LEVEL: Final = 0.12
"""Distance from a stack to the next line, in the distance of its lines; less in a column with several stacks, and more
when one of its lines, the first or the middle one, is level with the other cells, as the line of any row is."""


def find_stacks(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return the boxes in stacks, from top to bottom; most are stacks of one."""
    stacks, from_top = [], ByAxis(boxes)
    for chain in _chains(boxes):
        found = _find_repeated(chain, from_top, anchored_at=0.5)
        at_top = _find_repeated(chain, from_top, anchored_at=0.0)
        free = [span for span in at_top if not _overlap(sorted([*found, span]))]
        found = sorted(found + free) if len(free) >= MIN_REPEATED else found
        inside = {i for start, end in found for i in range(start, end)}
        stacks += [list(chain[start:end]) for start, end in found]
        stacks += [[box] for i, box in enumerate(chain) if i not in inside]
    return stacks


def _find_repeated(chain: Sequence[Box], boxes: ByAxis, *, anchored_at: float) -> list[tuple[int, int]]:
    """Return the stacks of a chain as (start, end), with less white around them when there are several."""
    found = _find_spans(chain, boxes, MIN_OUTER_PITCH, anchored_at)
    if len(found) < MIN_REPEATED:
        return found
    return _find_spans(chain, boxes, MIN_REPEATED_OUTER_PITCH, anchored_at) or found


def _find_spans(
    chain: Sequence[Box], boxes: ByAxis, min_outer_pitch: float, anchored_at: float
) -> list[tuple[int, int]]:
    """Return the stacks of a chain as (start, end); none when they overlap."""
    # The longest of those that begin at a line: its lines but the last may pass for a stack, too.
    longest = {
        start: end
        for start in range(len(chain))
        for end in range(start + 2, min(start + MAX_STACK, len(chain)) + 1)
        if _has_pitches(
            chain, start, end, min_outer_pitch + (MORE_IF_LEVEL if (end - start) % 2 or not anchored_at else 0.0)
        )
        and _has_anchors(chain[start:end], boxes, anchored_at)
    }
    found = list(longest.items())
    # Rows that are off by half a line have an anchor between any two of them.
    return [] if _overlap(found) else found


def _overlap(spans: Sequence[tuple[int, int]]) -> bool:
    """Return whether any of these spans (start, end), sorted by their starts, begins before the last one ends."""
    return any(start < end for (_, end), (start, _) in itertools.pairwise(spans))


def _chains(boxes: Sequence[Box]) -> Iterator[list[Box]]:
    """Yield the boxes in chains: each box is the nearest one below the last, and in its column."""
    from_top = sorted(boxes, key=lambda box: box.middle)
    followers: dict[Box, Box] = {}
    taken: set[Box] = set()
    for i in reversed(range(len(from_top))):
        follower = _nearest_below(from_top[i], (from_top[j] for j in range(i + 1, len(from_top))))
        if follower is not None and follower not in taken:
            followers[from_top[i]] = follower
            taken.add(follower)
    for box in boxes:
        if box not in taken:
            chain = [box]
            while chain[-1] in followers:
                chain.append(followers[chain[-1]])
            yield chain


def _nearest_below(box: Box, lower: Iterable[Box]) -> Box | None:
    """Return the nearest box in the column of this one among those below it, from the top."""
    return next((other for other in lower if box.middle < other.middle and _share_column(box, other)), None)


def _has_pitches(chain: Sequence[Box], start: int, end: int, min_outer_pitch: float) -> bool:
    """Return whether the lines of a chain from `start` to `end` are at one distance, and the next ones farther away."""
    lines = chain[start:end]
    pitches_px = [after.middle - before.middle for before, after in itertools.pairwise(lines)]
    pitch_px = max(pitches_px)
    around = chain[max(0, start - 1) : start + 1], chain[end - 1 : end + 1]
    outer_px = [after.middle - before.middle for pair in around for before, after in itertools.pairwise(pair)]
    highest_px = max(box.height for box in lines)
    if any(after.top - before.bottom > MAX_LEADING * highest_px for before, after in itertools.pairwise(lines)):
        return False
    return (
        pitch_px - min(pitches_px) <= TOLERANCE * pitch_px
        and min(outer_px, default=math.inf) >= min_outer_pitch * pitch_px
    )


def _has_anchors(lines: Sequence[Box], boxes: ByAxis, anchored_at: float) -> bool:
    """Return whether boxes are beside lines, all of them level with one place: 0 is the first line, 1 the last one."""
    first, last = lines[0].middle, lines[-1].middle
    pitch_px = max(after.middle - before.middle for before, after in itertools.pairwise(lines))
    middle, reach_px = (first + last) / 2, len(lines) / 2 * pitch_px
    beside = [box for box in boxes.between(middle - reach_px, middle + reach_px) if box not in lines]
    if any(_share_column(box, line) for box in beside for line in lines):
        return False
    off_px = [abs(box.middle - first - anchored_at * (last - first)) for box in beside]
    # Of a cell whose first line is level with its row, the other lines are read after it anyway if it is the last.
    anchors_px = [px for box, px in zip(beside, off_px, strict=True) if anchored_at or box.left >= lines[0].right]
    return bool(anchors_px) and min(anchors_px) <= TOLERANCE * pitch_px and max(off_px) <= MAX_OFF * pitch_px


def _share_column(one: Box, other: Box) -> bool:
    shared_px = min(one.right, other.right) - max(one.left, other.left)
    return shared_px >= MIN_SHARED_WIDTH * min(one.width, other.width)

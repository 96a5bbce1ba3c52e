"""Cells of several lines: lines that belong together although other cells are level with none of them.

A long name in a narrow cell is set in two lines, and the single lines of the other cells are centred beside them:

    Provincial Tobacco
                         652,418,000     18.06 %
    Company of Chengdu

By rows of lines this is three rows, or two with the numbers in either of them. The lines of such a *stack* are
recognised by an *anchor*: a box in another column whose axis is that of the stack as a whole, while no box is level
with its outer lines. They are read as one cell, in the row of their anchor. Lengths are in heights of a line.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.engine.rows import Box

MAX_STACK: Final = 3
"""Lines of the highest cell."""

MIN_SHARED_WIDTH: Final = 0.5
"""Lines of a cell share at least this part of the smaller width."""

MAX_LEADING: Final = 0.3
"""White between the lines of a cell."""

TOLERANCE: Final = 0.25
"""Distance of the axes of a stack and its anchor, and difference of the distances of its lines, in the latter."""

MIN_OUTER_PITCH: Final = 1.03
MIN_REPEATED: Final = 2
MIN_REPEATED_OUTER_PITCH: Final = 0.9
"""Distance from a stack to the next line, in the distance of its lines; less in a column with several stacks."""


def find_stacks(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return the boxes in stacks, from top to bottom; most are stacks of one."""
    stacks = []
    for chain in _chains(boxes):
        found = _find_spans(chain, boxes, MIN_OUTER_PITCH)
        if len(found) >= MIN_REPEATED:
            found = _find_spans(chain, boxes, MIN_REPEATED_OUTER_PITCH)
        inside = {i for start, end in found for i in range(start, end)}
        stacks += [list(chain[start:end]) for start, end in found]
        stacks += [[box] for i, box in enumerate(chain) if i not in inside]
    return stacks


def _find_spans(chain: Sequence[Box], boxes: Sequence[Box], min_outer_pitch: float) -> list[tuple[int, int]]:
    """Return the stacks of a chain as (start, end); none when they overlap."""
    found = [
        (start, end)
        for start in range(len(chain))
        for end in range(start + 2, min(start + MAX_STACK, len(chain)) + 1)
        if _is_stack(chain, start, end, boxes, min_outer_pitch)
    ]
    # Rows that are off by half a line have an anchor between any two of them.
    return [] if any(start < end for (_, end), (start, _) in itertools.pairwise(found)) else found


def _chains(boxes: Sequence[Box]) -> Iterator[list[Box]]:
    """Yield the boxes in chains: each box is the nearest one below the last, and in its column."""
    from_top = sorted(boxes, key=lambda box: box.middle)
    followers: dict[Box, Box] = {}
    taken: set[Box] = set()
    for i in reversed(range(len(from_top))):
        follower = _nearest_below(from_top[i], from_top[i + 1 :])
        if follower is not None and follower not in taken:
            followers[from_top[i]] = follower
            taken.add(follower)
    for box in boxes:
        if box not in taken:
            chain = [box]
            while chain[-1] in followers:
                chain.append(followers[chain[-1]])
            yield chain


def _nearest_below(box: Box, lower: Sequence[Box]) -> Box | None:
    """Return the nearest box in the column of this one among those below it, from the top."""
    below = (
        other
        for other in lower
        if box.middle < other.middle and _shared_width(box, other) >= MIN_SHARED_WIDTH * min(box.width, other.width)
    )
    return next(below, None)


def _is_stack(chain: Sequence[Box], start: int, end: int, boxes: Sequence[Box], min_outer_pitch: float) -> bool:
    """Return whether the lines of a chain from `start` to `end` are a cell of several lines."""
    lines = chain[start:end]
    pitches_px = [after.middle - before.middle for before, after in itertools.pairwise(lines)]
    pitch_px = max(pitches_px)
    around_px = [
        after.middle - before.middle for before, after in itertools.pairwise(chain[max(0, start - 1) : end + 1])
    ]
    outer_px = around_px[: 1 if start else 0] + around_px[len(pitches_px) + (1 if start else 0) :]
    if any(after.top - before.bottom > MAX_LEADING * before.height for before, after in itertools.pairwise(lines)):
        return False
    if (
        pitch_px - min(pitches_px) > TOLERANCE * pitch_px
        or min(outer_px, default=math.inf) < min_outer_pitch * pitch_px
    ):
        return False
    axis = (lines[0].middle + lines[-1].middle) / 2
    beside = [
        box
        for box in boxes
        if abs(box.middle - axis) < len(lines) / 2 * pitch_px and all(_shared_width(box, line) <= 0 for line in lines)
    ]
    return bool(beside) and all(abs(box.middle - axis) <= TOLERANCE * pitch_px for box in beside)


def _shared_width(one: Box, other: Box) -> float:
    return min(one.right, other.right) - max(one.left, other.left)

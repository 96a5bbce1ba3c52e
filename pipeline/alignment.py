"""Where the words of a corrected text are: each takes the place of the words that it stands for.

A line that is unchanged, or that was changed alone, keeps its place. Where lines were joined, split, added or removed,
the words between two unchanged lines are spread over the former places by the characters that they share.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from typing import Final

from pipeline.positions import TextLine, corners_of

_MAX_STEPS: Final = 1_000_000
"""Of a comparison, about a second; beyond it, words are spread evenly between a common beginning and end."""
_IDEOGRAPHS: Final = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_WORD: Final = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")
"""A word, or a character of a script that writes no spaces."""

Match = tuple[int, int, int, int]
"""Former elements from the first to before the second number, and the new ones that take their places."""


def align(lines: Sequence[TextLine], text: str, size_px: tuple[int, int] | None = None) -> tuple[TextLine, ...]:
    """Return the lines of a corrected text; each of its words is in one of them.

    Args:
        lines: Of the text before, in reading order.
        text: The corrected text.
        size_px: (width, height) of the image that the places are in, for a page that had no lines; None for unknown.
    """
    new = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    if not lines:
        return _stack(new, size_px)
    placed: list[TextLine] = []
    for i1, i2, j1, j2 in _match([_squeeze(line.text) for line in lines], [_squeeze(line) for line in new]):
        former, current = lines[i1:i2], new[j1:j2]
        if len(former) == len(current):
            placed += map(put_text, former, current)
        elif former and current:
            placed += _spread(former, "\n".join(current))
        else:  # added lines share the place of their neighbour
            placed += [put_text(lines[max(0, i1 - 1)], line) for line in current]
    return tuple(placed)


def put_text(line: TextLine, text: str) -> TextLine:
    """Return a line with another text, which no service was confident of; an unchanged one as it is."""
    if text.split() == line.text.split():
        return line
    return replace(line, text=text, confidence=None)


def _spread(lines: Sequence[TextLine], text: str) -> Iterator[TextLine]:
    """Yield the words of a text at the places of lines, by the characters that they share."""
    former = [(character, at) for at, line in enumerate(lines) for character in _squeeze(line.text)]
    begins = _find_begins(text)
    places: list[int] = []
    """By character of the squeezed text, the number of its line."""
    for i1, i2, j1, j2 in _match("".join(character for character, _ in former), _squeeze(text)):
        # As many as before are the same or stand for one another; added ones belong to what they are written at.
        added_to = i1 if j1 in begins and j2 not in begins else i1 - 1
        for at in range(j2 - j1):
            found = i1 + at * (i2 - i1) // (j2 - j1) if i2 > i1 else min(max(0, added_to), len(former) - 1)
            places.append(former[found][1] if former else 0)
    words = list(_place_words(text, places))
    for at, members in groupby(words, key=lambda word: word[0]):
        spans = [span for _, span in members]
        yield put_text(lines[at], " ".join(text[spans[0][0] : spans[-1][1]].split()))


def _find_begins(text: str) -> frozenset[int]:
    """Return the places in the squeezed text that white space, or an end of the text, precedes."""
    lengths = (len(word) for word in text.split())
    return frozenset(accumulate(lengths, initial=0))


def _place_words(text: str, places: Sequence[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the number of the line of each word, which is that of its first character, and the word's span."""
    at = 0
    for word in _WORD.finditer(text):
        yield places[at], word.span()
        at += len(word[0])


def _match(former: Sequence[str], new: Sequence[str]) -> Iterator[Match]:
    """Yield what takes the place of what, in order and without a gap."""
    at = before = 0
    for i, j, length in _find_common(former, new):
        yield at, i, before, j
        yield i, i + length, j, j + length
        at, before = i + length, j + length
    yield at, len(former), before, len(new)


def _find_common(former: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return the runs that both have: (place in the former, place in the new, length), in order.

    They are those of a shortest edit, or of a common beginning and end alone when finding that takes too long.

    Source:
        Myers, "An O(ND) Difference Algorithm and Its Variations", 1986: the greedy algorithm.
    """
    most = min(len(former), len(new))
    head = next((at for at in range(most) if former[at] != new[at]), most)
    most -= head
    tail = next((at for at in range(most) if former[-1 - at] != new[-1 - at]), most)
    middle = former[head : len(former) - tail], new[head : len(new) - tail]
    runs = [(head + i, head + j, length) for i, j, length in _trace_back(*middle)]
    return [(0, 0, head), *runs, (len(former) - tail, len(new) - tail, tail)]


def _trace_back(former: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return the runs of a shortest edit; none when it takes more than `_MAX_STEPS` to find."""
    runs: list[tuple[int, int, int]] = []
    reached = _reach_ends(former, new)
    if reached is None:
        return runs
    x, y = len(former), len(new)
    for edits in range(len(reached) - 1, 0, -1):
        diagonal, before = x - y, reached[edits - 1]
        is_added = diagonal == -edits or (
            diagonal != edits and before[diagonal - 1 + edits - 1] < before[diagonal + 1 + edits - 1]
        )
        diagonal += 1 if is_added else -1
        from_x = before[diagonal + edits - 1]
        begin = from_x if is_added else from_x + 1
        runs.append((begin, y - (x - begin), x - begin))
        x, y = from_x, from_x - diagonal
    runs.append((0, 0, x))
    return [run for run in reversed(runs) if run[2]]


def _reach_ends(former: Sequence[str], new: Sequence[str]) -> list["array[int]"] | None:
    """Return, by number of edits, how far each diagonal reaches in the former sequence; None when it takes too long."""
    steps, reached = 0, [array("i", [0])]
    while steps <= _MAX_STEPS:
        edits, last = len(reached) - 1, reached[-1]
        for place in range(0, 2 * edits + 1, 2 if edits else 1):
            begin, y = last[place], last[place] - (place - edits)
            x = begin
            while x < len(former) and y < len(new) and former[x] == new[y]:
                x, y = x + 1, y + 1
            last[place] = x
            steps += x - begin + 1
            if x >= len(former) and y >= len(new):
                return reached
        reached.append(_add_edit(last, edits))
    return None


def _add_edit(last: "array[int]", edits: int) -> "array[int]":
    """Return where the diagonals begin with an edit more: those of the other parity."""
    begins = array("i", bytes(4 * (2 * edits + 3)))
    for place in range(0, 2 * edits + 3, 2):
        # As places, diagonal k of n edits is k + n: the diagonals beside it are one place before and at its own.
        removed = last[place - 2] + 1 if place >= 2 else -1
        added = last[place] if place <= 2 * edits else -1
        begins[place] = max(removed, added)
    return begins


def _squeeze(text: str) -> str:
    """Return a text without its white space."""
    return "".join(text.split())


def _stack(texts: Sequence[str], size_px: tuple[int, int] | None) -> tuple[TextLine, ...]:
    """Return lines that share out a page from top to bottom."""
    width, height = size_px if size_px is not None else (1, len(texts))
    edges = [height * at / max(1, len(texts)) for at in range(len(texts) + 1)]
    return tuple(
        TextLine(text, corners_of((0, top, width, top, width, bottom, 0, bottom)))
        for text, top, bottom in zip(texts, edges, edges[1:], strict=False)
    )

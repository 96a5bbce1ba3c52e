"""Where the words of a corrected text are: each takes the place of the words that it stands for.

A line that is unchanged, or that was changed alone, keeps its place. Where lines were joined, split, added or removed,
the words between two unchanged lines are spread over the former places by the characters that they share.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Final

from pipeline.positions import TextLine, corners_of

_MAX_PAIRS: Final = 4_000_000
"""Pairs of equal elements that a comparison may take, about a second; beyond it, words are spread evenly."""
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
    places: list[int] = []
    """By character of the squeezed text, the number of its line."""
    for i1, i2, j1, j2 in _match("".join(character for character, _ in former), _squeeze(text)):
        for at in range(j2 - j1):
            # As many as before are the same or stand for one another; added ones follow the character before them.
            found = i1 + at * (i2 - i1) // (j2 - j1) if i2 > i1 else max(0, i1 - 1)
            places.append(former[found][1] if former else 0)
    words = list(_place_words(text, places))
    for at, members in groupby(words, key=lambda word: word[0]):
        spans = [span for _, span in members]
        yield put_text(lines[at], " ".join(text[spans[0][0] : spans[-1][1]].split()))


def _place_words(text: str, places: Sequence[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the number of the line of each word, which is that of its first character, and the word's span."""
    at = 0
    for word in _WORD.finditer(text):
        yield places[at], word.span()
        at += len(word[0])


def _match(former: Sequence[str], new: Sequence[str]) -> Iterator[Match]:
    """Yield what takes the place of what, in order and without a gap."""
    head = 0
    while head < min(len(former), len(new)) and former[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(former), len(new)) - head and former[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle, others = former[head : len(former) - tail], new[head : len(new) - tail]
    yield 0, head, 0, head
    counts = Counter(others)
    if sum(number * counts[each] for each, number in Counter(middle).items()) > _MAX_PAIRS:
        yield head, head + len(middle), head, head + len(others)
    else:
        for _, i1, i2, j1, j2 in SequenceMatcher(None, middle, others, autojunk=False).get_opcodes():
            yield head + i1, head + i2, head + j1, head + j2
    yield len(former) - tail, len(former), len(new) - tail, len(new)


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

"""Which recogniser reads a line, and how much of its width it needs: pure decisions around the models.

A recogniser's time goes with the width of the line, and the careful one takes five times the quick one's. The quick one
reads letters as well, as long as it is sure; of Chinese characters it knows a third, and takes the others for their
lookalikes without a doubt (92 of 150 with 0.8 or more), so those are never left to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.pixels import Pixels
from pipeline.engine.punctuation import WIDE_FORMS, is_wide

SURE = 0.6
"""The quick recogniser is believed when it gives each character of a line of letters so much. Wrong characters and CPU
time of eleven English pages at 0.8 / 0.6 / 0.4: 0.052 / 0.070 / 0.085 %, 1 / 0.64 / 0.51."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a recogniser reads in a line.

    Attributes:
        score: In [0, 1]: the mean of the characters', each where it begins.
        columns: Where each character stands along the line, in parts of its length.
        least: The least of the characters', each where it is clearest; 1.0 without characters.
    """

    text: str = ""
    score: float = 0.0
    columns: tuple[float, ...] = ()
    least: float = 1.0


ReadLine = Callable[[Pixels, float], Reading]
"""Reads a line's pixels at a part of their natural width."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a recogniser is asked, and how it is understood.

    Attributes:
        letters: How much narrower than they are lines without anything wide go to it.
        wide: The same for lines with Chinese characters.
        space_chance: Of a space between two characters, from which it is taken to stand there, though the recogniser
            thinks it likelier that nothing does.
    """

    letters: float
    wide: float
    space_chance: float


QUICK = Manner(letters=1.0, wide=0.75, space_chance=0.2)
"""Wrong characters in 36 pages, a third each Chinese, English, and mixed. Letters at 1 / 0.85: 0.07 / 0.11 %; Chinese
at 1 / 0.85 / 0.75 / 0.65: 0.17 / 0.16 / 0.17 / 0.18 %, mixed 0.34 / 0.29 / 0.31 / 0.47 %. Spaces from 1 / 0.3 / 0.2 /
0.15: letters 0.071 / 0.052 / 0.050 / 0.048 %, mixed 0.31 / 0.25 / 0.24 / 0.23 %."""

CAREFUL = Manner(letters=0.85, wide=0.65, space_chance=0.08)
"""On the same pages, Chinese at 0.85 / 0.75 / 0.65 / 0.6 / 0.55: 0.07 / 0.07 / 0.05 / 0.07 / 0.12 %, mixed 0.11 /
0.09 / 0.07 / 0.12 / 0.26 %. Spaces from 1 / 0.15 / 0.1 / 0.08 / 0.06: Chinese 0.108 / 0.056 / 0.052 / 0.052 / 0.052 %,
mixed 0.23 / 0.077 / 0.073 / 0.069 / 0.073 %. Of 232 lines of letters at 1 / 0.85 / 0.75 / 0.65 were wrong 3 / 3 / 8 /
26."""


class LineRecogniser:
    """Reads a line in the manner that suits its script.

    Args:
        read: A model.
        manner: How it is asked.
    """

    def __init__(self, read: ReadLine, manner: Manner) -> None:
        self._read = read
        self._manner = manner

    def read(self, line: Pixels, *, expects_wide: bool) -> Reading:
        """Return what a line says; letters where Chinese was expected are read again at the width that they need."""
        if expects_wide:
            reading = self._read(line, self._manner.wide)
            if has_wide(reading.text):
                return reading
        return self._read(line, self._manner.letters)


class Reader:
    """Reads the lines of a page.

    Args:
        quick: Asked first where letters are expected.
        careful: Asked where the quick one is not enough; None leaves everything to it.
    """

    def __init__(self, quick: LineRecogniser, careful: LineRecogniser | None = None) -> None:
        self._quick = quick
        self._careful = careful

    def read(self, lines: Sequence[Pixels]) -> list[Reading]:
        """Return what the lines say, in their order."""
        readings = [Reading()] * len(lines)
        # Most pages have one script: what the last line had, the next is expected to have.
        expects_wide = False
        # By width, so that the runtime's buffers grow and are used again.
        for i in sorted(range(len(lines)), key=lambda i: lines[i].shape[1] / lines[i].shape[0]):
            readings[i] = self._read(lines[i], expects_wide=expects_wide)
            expects_wide = has_wide(readings[i].text)
        return readings

    def _read(self, line: Pixels, *, expects_wide: bool) -> Reading:
        if self._careful is None:
            return self._quick.read(line, expects_wide=expects_wide)
        if not expects_wide:
            reading = self._quick.read(line, expects_wide=False)
            expects_wide = has_wide(reading.text)
            if not expects_wide and reading.least >= SURE:
                return reading
        return self._careful.read(line, expects_wide=expects_wide)


def has_wide(text: str) -> bool:
    """Return whether a line has Chinese characters, or their punctuation."""
    return any(map(is_wide, text))


def decode(
    probabilities: NDArray[Any], characters: Sequence[str], step: float, *, space: int, space_chance: float
) -> Reading:
    """Return what a recogniser's answer says: the best character of each step, repeats and blanks left out.

    Blanks take the best path from spaces, which are told by little: one that is likely enough is put in.

    Args:
        probabilities: (steps, characters), the blank first.
        characters: What the recogniser tells apart, the blank first.
        step: Part of the line's length that a step covers.
        space: Number of the space among the characters.
        space_chance: From which a space is put in.

    Source:
        Graves et al. 2006, "Connectionist temporal classification", best path decoding.
    """
    best = probabilities.argmax(axis=1)
    chances = probabilities[np.arange(len(best)), best]
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    clearest = np.maximum.reduceat(chances, edges[:-1])
    shown = best[edges[:-1]] != 0
    if not shown.any():
        return Reading()
    begins, ends = edges[:-1][shown], edges[1:][shown]
    letters = [characters[i] for i in best[begins]]
    is_ink = [not letter.isspace() for letter in letters]
    text = letters[0]
    for (before, letter), end, begin in zip(pairwise(letters), ends[:-1], begins[1:], strict=True):
        if _may_be_parted(before, letter) and probabilities[end:begin, space].max(initial=0) >= space_chance:
            text += " "
        text += letter
    return Reading(
        text,
        float(chances[begins].mean()),
        tuple((step * (begins[is_ink] + 0.5)).tolist()),
        float(clearest[shown].min()),
    )


def _may_be_parted(one: str, other: str) -> bool:
    """Return whether white between two characters is a space: not what belongs to their squares, or to two marks."""
    if one.isspace() or other.isspace():
        return False
    if is_wide(one) or is_wide(other):
        return not (_may_be_wide(one) and _may_be_wide(other))
    return one.isalnum() or other.isalnum()


def _may_be_wide(character: str) -> bool:
    return is_wide(character) or character in WIDE_FORMS

"""Which recogniser reads a line, and how much of its width it needs: pure decisions around the models.

A recogniser's time goes with the width of the line, and the careful one takes five times the quick one's. The quick one
reads letters as well, as long as it is sure; of Chinese characters it knows a third, and takes the others for their
lookalikes without a doubt (92 of 150 with 0.8 or more), so those are never left to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.server.engine.decode import Pixels
from pipeline.server.engine.punctuation import is_wide

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


class Script(Enum):
    """What stands in a line."""

    LETTERS = auto()
    WIDE = auto()
    MIXED = auto()


SQUEEZE: Mapping[Script, float] = {Script.LETTERS: 0.85, Script.MIXED: 0.75, Script.WIDE: 0.65}
"""How much narrower than they are lines go to the careful recogniser. Lines wrong at 1 / 0.85 / 0.75 / 0.65: of 225
Chinese ones 5 / 4 / 2 / 2, of 232 English ones 3 / 3 / 8 / 26; eleven mixed pages at 0.85 / 0.75: 0.40 / 0.35 %; eleven
Chinese pages at 0.65 / 0.55: 0.10 / 0.14 %."""


class Reader:
    """Reads the lines of a page.

    Args:
        quick: Asked first where letters are expected.
        careful: Asked where the quick one is not enough; None leaves everything to it.
    """

    def __init__(self, quick: ReadLine, careful: ReadLine | None = None) -> None:
        self._quick = quick
        self._careful = careful

    def read(self, lines: Sequence[Pixels]) -> list[Reading]:
        """Return what the lines say, in their order."""
        readings = [Reading()] * len(lines)
        # Most pages have one script: what the last line had, the next is expected to have.
        script = Script.LETTERS
        # By width, so that the runtime's buffers grow and are used again.
        for i in sorted(range(len(lines)), key=lambda i: lines[i].shape[1] / lines[i].shape[0]):
            readings[i] = self._quick(lines[i], 1.0) if self._careful is None else self._read(lines[i], script)
            script = script_of(readings[i].text)
        return readings

    def _read(self, line: Pixels, expected: Script) -> Reading:
        assert self._careful is not None
        if expected is Script.LETTERS:
            reading = self._quick(line, 1.0)
            expected = script_of(reading.text)
            if expected is Script.LETTERS and reading.least >= SURE:
                return reading
        reading = self._careful(line, SQUEEZE[expected])
        script = script_of(reading.text)
        return self._careful(line, SQUEEZE[script]) if SQUEEZE[script] > SQUEEZE[expected] else reading


def script_of(text: str) -> Script:
    """Return the script of a line: wide with figures and marks at most, letters without anything wide, or both."""
    if not any(map(is_wide, text)):
        return Script.LETTERS
    has_letters = any(character.isalpha() and not is_wide(character) for character in text)
    return Script.MIXED if has_letters else Script.WIDE


def decode(probabilities: NDArray[Any], characters: Sequence[str], step: float) -> Reading:
    """Return what a recogniser's answer says: the best character of each step, repeats and blanks left out.

    Args:
        probabilities: (steps, characters), the blank first.
        characters: What the recogniser tells apart, the blank first.
        step: Part of the line's length that a step covers.

    Source:
        Graves et al. 2006, "Connectionist temporal classification", best path decoding.
    """
    best = probabilities.argmax(axis=1)
    chances = probabilities[np.arange(len(best)), best]
    begins = np.flatnonzero(np.diff(best, prepend=-1))
    clearest = np.maximum.reduceat(chances, begins)
    shown = best[begins] != 0
    if not shown.any():
        return Reading()
    text = "".join(characters[i] for i in best[begins[shown]])
    is_ink = [not character.isspace() for character in text]
    return Reading(
        text,
        float(chances[begins[shown]].mean()),
        tuple((step * (begins[shown][is_ink] + 0.5)).tolist()),
        float(clearest[shown].min()),
    )

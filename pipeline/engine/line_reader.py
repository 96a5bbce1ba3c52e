"""Which recogniser reads a line, and at which width: decisions around the models.

The time of a recogniser is proportional to the width of the line, and the careful recogniser takes five times as long
as the quick one. The quick one reads Latin letters as well as the careful one, as long as it is confident. It knows
only a third of the Chinese characters and confidently takes the others for similar ones (92 of 150 with a probability
of 0.8 or more), so with the accurate engine it never decides a line with Chinese characters.

Lines are narrowed before they are read, as far as the error rate allows. How far depends on the script: *wide*
characters, which fill a square of one em, tolerate more than *narrow* ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.engine.ctc import Reading
from pipeline.engine.pixels import Pixels
from pipeline.engine.punctuation import has_wide

MIN_QUICK_CONFIDENCE: Final = 0.6
"""A line of narrow characters is left to the quick recogniser when its `min_confidence` is at least this. Wrong
characters and CPU time of eleven English pages at 0.8 / 0.6 / 0.4: 0.052 / 0.070 / 0.085 %, 1 / 0.64 / 0.51."""

ReadLine = Callable[[Pixels, float], Reading]
"""Reads the pixels of a line at a scale of its width in (0, 1]."""


@dataclass(frozen=True, slots=True)
class RecogniserSettings:
    """How the lines for a recogniser are scaled, and how its output is decoded.

    Attributes:
        narrow_scale: Horizontal scale of lines without wide characters.
        wide_scale: Horizontal scale of lines with wide characters.
        space_threshold: Probability from which a space is inserted between two characters.
    """

    narrow_scale: float
    wide_scale: float
    space_threshold: float


QUICK: Final = RecogniserSettings(narrow_scale=1.0, wide_scale=0.75, space_threshold=0.2)
"""Wrong characters in 36 pages, a third each Chinese, English and mixed. English at 1 / 0.85: 0.07 / 0.11 %; Chinese
at 1 / 0.85 / 0.75 / 0.65: 0.17 / 0.16 / 0.17 / 0.18 %, mixed 0.34 / 0.29 / 0.31 / 0.47 %. Space threshold 1 / 0.3 /
0.2 / 0.15: English 0.071 / 0.052 / 0.050 / 0.048 %, mixed 0.31 / 0.25 / 0.24 / 0.23 %."""

CAREFUL: Final = RecogniserSettings(narrow_scale=0.85, wide_scale=0.65, space_threshold=0.08)
"""On the same pages, Chinese at 0.85 / 0.75 / 0.65 / 0.6 / 0.55: 0.07 / 0.07 / 0.05 / 0.07 / 0.12 %, mixed 0.11 /
0.09 / 0.07 / 0.12 / 0.26 %. Space threshold 1 / 0.15 / 0.1 / 0.08 / 0.06: Chinese 0.108 / 0.056 / 0.052 / 0.052 /
0.052 %, mixed 0.23 / 0.077 / 0.073 / 0.069 / 0.073 %. Of 232 English lines 3 / 3 / 8 / 26 were wrong at 1 / 0.85 /
0.75 / 0.65."""


class LineRecogniser:
    """A model that reads each line at the scale that suits its script."""

    def __init__(self, read: ReadLine, settings: RecogniserSettings) -> None:
        self._read = read
        self._settings = settings

    def read(self, line: Pixels, *, expects_wide: bool) -> Reading:
        """Return the text of a line.

        Args:
            line: Its pixels.
            expects_wide: Whether to try the scale of wide characters first. A line that turns out to have none is read
                again at the scale of narrow ones.
        """
        if expects_wide:
            reading = self._read(line, self._settings.wide_scale)
            if has_wide(reading.text):
                return reading
        return self._read(line, self._settings.narrow_scale)

    def read_at_full_width(self, line: Pixels) -> Reading:
        """Return the text of a line that is not narrowed."""
        return self._read(line, 1.0)


class Reader:
    """Reads the lines of a page with one or two recognisers.

    Args:
        quick: Reads a line first where narrow characters are expected.
        careful: Reads the lines that the quick recogniser cannot decide; None leaves all lines to the quick one.
    """

    def __init__(self, quick: LineRecogniser, careful: LineRecogniser | None = None) -> None:
        self._quick = quick
        self._careful = careful

    def read(self, lines: Sequence[Pixels]) -> list[Reading]:
        """Return the text of the lines, in their order."""
        readings = [Reading()] * len(lines)
        # Most pages have one script, so a line is expected to have the script of the line read before.
        expects_wide = False
        # Ordered by aspect ratio, so that the runtime's buffers grow gradually and are reused.
        for i in sorted(range(len(lines)), key=lambda i: lines[i].shape[1] / lines[i].shape[0]):
            readings[i] = self._read(lines[i], expects_wide=expects_wide)
            expects_wide = has_wide(readings[i].text)
        return readings

    def read_again(self, line: Pixels) -> Reading:
        """Return the more confident of the recognisers' readings of a line at its full width."""
        recognisers = [self._quick] + ([self._careful] if self._careful else [])
        readings = [recogniser.read_at_full_width(line) for recogniser in recognisers]
        # The quick recogniser does not decide a line with Chinese characters.
        if self._careful and any(has_wide(reading.text) for reading in readings):
            return readings[-1]
        return max(readings, key=lambda reading: reading.confidence)

    def _read(self, line: Pixels, *, expects_wide: bool) -> Reading:
        if self._careful is None:
            return self._quick.read(line, expects_wide=expects_wide)
        if not expects_wide:
            reading = self._quick.read(line, expects_wide=False)
            expects_wide = has_wide(reading.text)
            if not expects_wide and reading.min_confidence >= MIN_QUICK_CONFIDENCE:
                return reading
        return self._careful.read(line, expects_wide=expects_wide)

"""Which recogniser reads a line, and at which width: decisions around the models.

The time of a recogniser is proportional to the width of the line, and the careful recogniser takes five times as long
as the quick one. The quick one reads Latin letters as well as the careful one, as long as it is confident. It knows
only a third of the Chinese characters and confidently takes the others for similar ones (92 of 150 with a probability
of 0.8 or more), so with the accurate engine it never decides a line with Chinese characters.

On a page that the quick recogniser is unsure of (thermal print, faded or badly scanned type) it is also wrong where it
is confident enough for a good page. There the careful recogniser reads its least confident lines, too, and the surer
reading is kept.

A mark that a recogniser does not know, such as the asterisk of a dot-matrix printer, looks to it like some Chinese
character. So on a page without Chinese text a line with such characters is read again without them, and the surer
reading is kept, unless it leaves out what was read with confidence: the page may have a single Chinese character.

Lines are narrowed before they are read, as far as the error rate allows. How far depends on the script: *wide*
characters, which fill a square of one em, tolerate more than *narrow* ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.engine.ctc import Reading
from pipeline.engine.pixels import Pixels
from pipeline.engine.punctuation import has_wide, is_wide
from pipeline.engine.rereading import MIN_LINE_CONFIDENCE

MIN_QUICK_CONFIDENCE: Final = 0.6
"""A line of narrow characters is left to the quick recogniser when its `min_confidence` is at least this. Wrong
characters and CPU time of eleven English pages at 0.8 / 0.6 / 0.4: 0.052 / 0.070 / 0.085 %, 1 / 0.64 / 0.51."""

MIN_PAGE_CONFIDENCE: Final = 0.98
"""Mean confidence of a page's characters below which the careful recogniser reads doubtful lines, too."""

MIN_SURE_CONFIDENCE: Final = 0.75
"""A line with a lower `min_confidence` is doubtful. With 0.98 for lines with digits, one amount more of 98 on receipts
is right, and half as much again is read twice. Reading twice takes a third of the time of such a page (1.15 s instead
of 0.86 s of CPU on receipts and forms), and none on a good one."""

MAX_SECOND_LENGTH: Final = 160.0
"""Doubtful lines of a page that are read twice, the least confident first, by the sum of their lengths / heights."""

MIN_SECOND_LENGTH: Final = 4.0
"""Length / height that a line counts at least: short lines are padded before they are read."""

MIN_SCRIPT_CONFIDENCE: Final = 0.75
"""Confidence from which a reading tells whether its line has Chinese text. Rows of asterisks that were taken for
Chinese have 0.7 at most."""


class ReadLine(Protocol):
    """Reads a line."""

    def __call__(self, line: Pixels, width_scale: float, *, only_narrow: bool = False) -> Reading:
        """Return the text of a line.

        Args:
            line: Its pixels.
            width_scale: Scale of its width at which it is read, in (0, 1].
            only_narrow: Leave wide characters out of account.
        """
        ...


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

    def read_at_full_width(self, line: Pixels, *, only_narrow: bool = False) -> Reading:
        """Return the text of a line that is not narrowed, with or without wide characters."""
        return self._read(line, 1.0, only_narrow=only_narrow)


class Reader:
    """Reads the lines of a page with one or two recognisers.

    Args:
        quick: Reads a line first where narrow characters are expected.
        careful: Reads the lines that the quick recogniser cannot decide; None leaves all lines to the quick one.
    """

    def __init__(self, quick: LineRecogniser, careful: LineRecogniser | None = None) -> None:
        self._quick = quick
        self._careful = careful
        self._recognisers = [quick] + ([careful] if careful else [])

    def read(self, lines: Sequence[Pixels]) -> list[Reading]:
        """Return the text of the lines, in their order."""
        readings = [Reading()] * len(lines)
        by_quick: set[int] = set()
        # Most pages have one script, so a line is expected to have the script of the line read before.
        expects_wide = False
        # Ordered by aspect ratio, so that the runtime's buffers grow gradually and are reused.
        for i in sorted(range(len(lines)), key=lambda i: lines[i].shape[1] / lines[i].shape[0]):
            readings[i], is_quick = self._read(lines[i], expects_wide=expects_wide)
            expects_wide = has_wide(readings[i].text)
            by_quick |= {i} if is_quick else set()
        if not has_wide_text(readings):
            self._read_without_wide(lines, readings)
        if self._careful and is_doubtful(readings):
            for i in choose_doubtful(readings, lines):
                second = self._careful.read_at_full_width(lines[i])
                if is_surer(second, readings[i], is_same_model=i not in by_quick):
                    readings[i] = second
        return readings

    def read_again(self, line: Pixels) -> Reading:
        """Return the more confident of the recognisers' readings of a line at its full width."""
        readings = [recogniser.read_at_full_width(line) for recogniser in self._recognisers]
        # The quick recogniser does not decide a line with Chinese characters.
        if self._careful and any(has_wide(reading.text) for reading in readings):
            return readings[-1]
        return max(readings, key=lambda reading: reading.confidence)

    def _read_without_wide(self, lines: Sequence[Pixels], readings: list[Reading]) -> None:
        """Replace the readings with wide characters where one without them is as good, the careful one first."""
        for i, reading in enumerate(readings):
            # Rows of dashes or asterisks, which are dropped for their confidence, would come back as rows of marks.
            if not has_wide(reading.text) or reading.confidence < MIN_LINE_CONFIDENCE:
                continue
            others = (each.read_at_full_width(lines[i], only_narrow=True) for each in reversed(self._recognisers))
            readings[i] = next((other for other in others if is_as_good(other, reading)), reading)

    def _read(self, line: Pixels, *, expects_wide: bool) -> tuple[Reading, bool]:
        """Return the text of a line, and whether it is the quick recogniser's."""
        if self._careful is None:
            return self._quick.read(line, expects_wide=expects_wide), True
        if not expects_wide:
            reading = self._quick.read(line, expects_wide=False)
            expects_wide = has_wide(reading.text)
            if not expects_wide and reading.min_confidence >= MIN_QUICK_CONFIDENCE:
                return reading, True
        return self._careful.read(line, expects_wide=expects_wide), False


def has_wide_text(readings: Iterable[Reading]) -> bool:
    """Return whether a page has a confident line with several wide letters: Chinese, say, and not marks misread."""
    return any(
        reading.confidence >= MIN_SCRIPT_CONFIDENCE
        and sum(is_wide(character) and character.isalpha() for character in reading.text) > 1
        for reading in readings
    )


def is_as_good(narrow: Reading, wide: Reading) -> bool:
    """Return whether a reading without wide characters replaces one with them.

    Without 月, "3月" is read as "3", and more confidently: where no narrow character is like the ink, the blank has all
    that is left of the probability. So of a confident reading no character may be lost.
    """
    loses_ink = len(narrow.positions) < len(wide.positions) and wide.confidence >= MIN_SCRIPT_CONFIDENCE
    return narrow.confidence >= max(wide.confidence, MIN_SCRIPT_CONFIDENCE) and not loses_ink


def is_doubtful(readings: Iterable[Reading]) -> bool:
    """Return whether the mean confidence of a page's characters is low; False without characters."""
    weights = [(reading.confidence, len(reading.positions)) for reading in readings]
    characters = sum(length for _, length in weights)
    return sum(confidence * length for confidence, length in weights) < MIN_PAGE_CONFIDENCE * characters


def choose_doubtful(readings: Sequence[Reading], lines: Sequence[Pixels]) -> list[int]:
    """Return the indices of the lines without wide characters that are read twice, the least confident first.

    Args:
        readings: The readings of a page's lines. Those that would be dropped are read again later (`rereading.py`).
        lines: The pixels of the lines.
    """
    chosen, length = [], 0.0
    for i in sorted(range(len(readings)), key=lambda i: readings[i].min_confidence):
        reading, own_length = readings[i], max(MIN_SECOND_LENGTH, lines[i].shape[1] / lines[i].shape[0])
        is_doubtful_line = reading.min_confidence < MIN_SURE_CONFIDENCE and not has_wide(reading.text)
        if is_doubtful_line and reading.confidence >= MIN_LINE_CONFIDENCE and length + own_length <= MAX_SECOND_LENGTH:
            length += own_length
            chosen.append(i)
    return chosen


def is_surer(second: Reading, first: Reading, *, is_same_model: bool) -> bool:
    """Return whether the second reading of a line without wide characters is kept.

    Two models are compared by the mean over the characters: least certain characters say little across models. On
    receipts and forms it leaves 85 and 109 wrong characters, with the least certain added 89 and 117; of 153 lines
    that one model read at two widths, 96 and 83.
    """
    gain = second.confidence - first.confidence
    if is_same_model:
        gain += second.min_confidence - first.min_confidence
    return gain > 0 and not has_wide(second.text)

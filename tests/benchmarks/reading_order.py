"""Reading order alone: what it costs on pages whose boxes and texts are known, without detection and recognition.

    python -m tests.benchmarks.reading_order [--seeds N,N,...] [--pages N] [--layouts REGEX]

The boxes are those of the typeset words, as a detector finds them: neighbours without white between them are one box,
edges are off by up to 3 px, and the page is skewed by up to 0.7 degrees and bent by up to 0.6 % of its width. Prints
the wrong characters of each layout in %, white space ignored: mean, worst page, and each page by seed.
"""

import argparse
import math
import random
import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

from pipeline.engine.reading_order import reading_rows, reading_text
from pipeline.engine.recognition import Line, Point
from tests.evaluation.documents import DOCUMENT_LANGUAGES, DOCUMENTS
from tests.evaluation.layouts import LAYOUTS, make_page
from tests.evaluation.pages import Page, Word
from tests.evaluation.scoring import Score, score_page
from tests.evaluation.writing import LANGUAGES

JOINED_EM = 0.9
"""Words of a row that are nearer to each other than this share of their type are one box: a bullet and its text."""

MAX_SKEW_DEG = 0.7
MAX_BEND = 0.006
MAX_OFF_PX = 3.0


def main() -> int:
    """Print a row per layout and language."""
    options = _options()
    print("seeds", ",".join(map(str, options.seeds)))
    layouts = dict.fromkeys(LAYOUTS, LANGUAGES) | dict.fromkeys(DOCUMENTS, DOCUMENT_LANGUAGES)
    for layout, languages in layouts.items():
        for language in languages if re.search(options.layouts, layout) else ():
            scores = [
                score_order(make_page(layout, language, f"{seed} {number}"), random.Random(f"{seed} {number}"))
                for seed in options.seeds
                for number in range(options.pages)
            ]
            rates = [score.percent("wrong_letters") for score in scores]
            mean = sum(scores, Score()).percent("wrong_letters")
            pages = " ".join(f"{rate:.0f}" for rate in rates)
            print(f"{layout:<26}{language:<8}{mean:>6.1f} /{max(rates):>6.1f}   {pages}", flush=True)
    return 0


def score_order(page: Page, rng: random.Random) -> Score:
    """Return the score of a page that is put in order from its boxes, given at random."""
    lines = list(find_lines(page, rng))
    rng.shuffle(lines)
    return score_page(page.truth, reading_text(reading_rows(lines)))


def find_lines(page: Page, rng: random.Random) -> Iterator[Line]:
    """Yield the lines of a page as a detector finds them on a slightly skewed and bent page."""
    skew_rad = math.radians(rng.uniform(-MAX_SKEW_DEG, MAX_SKEW_DEG))
    width = page.size_px[0]
    bend_px = rng.uniform(-MAX_BEND, MAX_BEND) * width

    def place(x: float, y: float) -> Point:
        y += bend_px * math.sin(math.pi * x / width)
        return x - y * math.sin(skew_rad), y + x * math.sin(skew_rad)

    for row in page.rows:
        for words in _joined(row):
            left, top, right, bottom = (rng.uniform(0, MAX_OFF_PX) for _ in range(4))
            left, top = words[0].box[0] - 3 - left, min(word.box[1] for word in words) - 3 - top
            right, bottom = words[-1].box[2] + 3 + right, max(word.box[3] for word in words) + 3 + bottom
            corners = place(left, top), place(right, top), place(right, bottom), place(left, bottom)
            yield Line(" ".join(word.text for word in words), 0.99, corners)


def _joined(row: Sequence[Word]) -> Iterator[list[Word]]:
    """Yield the words of a row that a detector finds as one box."""
    words = [row[0]]
    for before, word in pairwise(row):
        white = word.box[0] - before.box[2]
        if before.y == word.y and 0 <= white < JOINED_EM * word.font.size:
            words.append(word)
        else:
            yield words
            words = [word]
    yield words


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reading_order")
    drawn = [str(seed) for seed in random.SystemRandom().sample(range(1_000, 1_000_000), 5)]
    parser.add_argument("--seeds", type=partial(str.split, sep=","), default=drawn, help="seeds (five, drawn now)")
    parser.add_argument("--pages", type=int, default=1, help="pages per layout, language and seed")
    parser.add_argument("--layouts", default="", help="only layouts in whose name this regular expression is found")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

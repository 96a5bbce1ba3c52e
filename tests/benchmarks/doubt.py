"""Whether the engine's own score of a page finds the pages with most errors.

    python -m tests.benchmarks.doubt [PATH] [--seed N] [--pages N] [--groups WORD] [--show]

Reads the pages of a folder, as `real_pages` finds them, and rendered ones, --pages of each group. Errors are the
characters that are wrong when order does not count: the score judges what was read, not its order. Prints which share
of all errors is in the worst fifth of the pages by score, and how much is in the fifth that has most errors; and how
many pages are in doubt.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.quality import judge
from pipeline.quality import Quality
from tests.benchmarks.real_pages import RealPage, find_pages
from tests.evaluation.engines import encode_png
from tests.evaluation.groups import GROUPS, SMALL_GROUPS, samples

WORST_SHARE = 0.2
MANY_ERRORS = 0.1
"""Share of wrong characters above which a page should be in doubt."""


@dataclass(frozen=True, slots=True)
class JudgedPage:
    """A page that was read.

    Attributes:
        characters: Of the truth, without white space.
        errors: Wrong characters.
    """

    name: str
    characters: int
    errors: int
    quality: Quality

    @property
    def is_bad(self) -> bool:
        """Whether the page should be in doubt."""
        return self.errors > MANY_ERRORS * self.characters


def main() -> int:
    """Read the pages and print the figures."""
    from pipeline.engine.engine import Engine  # noqa: PLC0415 - takes seconds to load

    options = _options()
    engine = Engine("openvino", os.cpu_count() or 1)
    pages = []
    for name, image, truth in _find(options):
        recognition = engine.recognise(image)
        errors = truth.errors_order_free(recognition.text)
        pages.append(JudgedPage(name, len("".join(truth.truth.split())), errors, judge(recognition)))
        if options.show:
            _show(pages[-1])
    if not pages:
        sys.exit("no pages")
    found, most = errors_in_worst(pages)
    print(f"{len(pages)} pages, {sum(page.errors for page in pages):,} wrong characters")
    print(
        f"in the worst {WORST_SHARE:.0%} by score: {found:.1%}; by errors: {most:.1%}; the former is {found / most:.1%}"
    )
    doubted, bad = [page for page in pages if page.quality.is_in_doubt], [page for page in pages if page.is_bad]
    print(f"{len(doubted)} in doubt, {sum(page.is_bad for page in doubted)} of them with over {MANY_ERRORS:.0%} wrong")
    print(
        f"{len(bad)} with over {MANY_ERRORS:.0%} wrong, {sum(page not in doubted for page in bad)} of them not in doubt"
    )
    return 0


def errors_in_worst(pages: Sequence[JudgedPage]) -> tuple[float, float]:
    """Return the share of all errors in the worst fifth of the pages by score, and in the fifth with most errors.

    Both are 1 when no page has an error.
    """
    count, total = max(1, round(WORST_SHARE * len(pages))), sum(page.errors for page in pages)
    if not total:
        return 1.0, 1.0
    by_score = sorted(pages, key=lambda page: page.quality.score)[:count]
    by_errors = sorted(pages, key=lambda page: -page.errors)[:count]
    return sum(page.errors for page in by_score) / total, sum(page.errors for page in by_errors) / total


def _find(options: argparse.Namespace) -> Iterator[tuple[str, bytes, RealPage]]:
    """Yield name, image and truth of each page."""
    for page in find_pages(options.path) if options.path else ():
        if options.groups in page.group:
            yield page.path.name, page.path.read_bytes(), page
    for group in {group.name: group for group in (*GROUPS, *SMALL_GROUPS)}.values():
        if options.groups in group.name:
            for number, sample in enumerate(samples(group, options.seed, options.pages)):
                name = f"{group.name} {number}"
                yield name, encode_png(sample.picture), RealPage(Path(name), group.name, sample.truth)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.doubt")
    parser.add_argument("path", type=Path, nargs="?", help="folder of images with their texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pages", type=int, default=1, help="rendered pages per group; 0 for none")
    parser.add_argument("--groups", default="", help="only groups whose name contains this word")
    parser.add_argument("--show", action="store_true", help="print each page")
    return parser.parse_args()


def _show(page: JudgedPage) -> None:
    quality = page.quality
    mean = quality.confidence.mean if quality.confidence else 1.0
    print(
        f"{100 * page.errors / max(1, page.characters):6.1f} %  score {quality.score:.3f}"
        f"{' (in doubt)' if quality.is_in_doubt else ''}  confidence {mean:.3f}  unread {quality.unread_ink:.2f},"
        f" like type {quality.unread_type:.2f}  {page.name}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

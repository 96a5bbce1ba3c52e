"""What `--auto-rotate`, `--deskew` and `--contrast` are worth to a service that reads such pages badly.

    python -m tests.benchmarks.corrections [--engines tesseract,ours] [--seeds 11,12] [--damages WORD]

Rendered pages are damaged, prepared with and without the corrections, and read by Tesseract, which stands for the
service, or by another engine.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.errors import EngineError
from tests.accuracy import character_error_rate
from tests.evaluation.engines import ENGINES, Read
from tests.inputs.images import VENDOR, prepare, sent_image
from tests.inputs.skewed import DAMAGES, text_lines, text_page

CORRECTED: Final = replace(VENDOR, auto_rotate=True, deskew=True, contrast=True)


class Row(NamedTuple):
    """Character error rates of a page, as it came and corrected; whether it was corrected."""

    before: float
    after: float
    corrected: bool


def main() -> int:
    """Print a row per damage and language; 1 when corrections make a clean page worse."""
    options = _options()
    is_worse = False
    for name in options.engines:
        try:
            read = ENGINES[name]()
        except EngineError as exc:
            sys.exit(str(exc))
        print(f"{name}, {len(options.seeds)} pages each; wrong characters in %, mean and worst")
        print(f"{'damage':<12}{'':<9}{'as it came':>18}{'corrected':>18}{'pages corrected':>18}")
        for damage in DAMAGES:
            if options.damages not in damage:
                continue
            for chinese in (False, True):
                rows = list(_measure(read, damage, options.seeds, chinese=chinese))
                _print_row(damage, "Chinese" if chinese else "English", rows)
                is_worse |= damage == "none" and any(row.after > row.before for row in rows)
    return int(is_worse)


def _measure(read: Read, damage: str, seeds: list[int], *, chinese: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "page.png"
        for seed in seeds:
            DAMAGES[damage](text_page(seed, chinese=chinese)).save(path)
            truth = "\n".join(text_lines(seed, chinese=chinese))
            plain, corrected = prepare(path, 1, VENDOR), prepare(path, 1, CORRECTED)
            before = character_error_rate(truth, read(sent_image(plain)))
            assert corrected.prep is not None
            is_corrected = corrected.prep.corrections is not None
            # the same bytes were sent for a page that was not corrected
            after = character_error_rate(truth, read(sent_image(corrected))) if is_corrected else before
            yield Row(before, after, is_corrected)


def _print_row(damage: str, language: str, rows: list[Row]) -> None:
    rates = ([row.before for row in rows], [row.after for row in rows])
    cells = [f"{100 * statistics.fmean(each):.2f} / {100 * max(each):.2f}" for each in rates]
    corrected = sum(row.corrected for row in rows)
    print(f"{damage:<12}{language:<9}{cells[0]:>18}{cells[1]:>18}{corrected:>18}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.corrections")
    parser.add_argument("--engines", type=partial(str.split, sep=","), default=["tesseract"])
    parser.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=list(range(11, 16))
    )
    parser.add_argument("--damages", default="", help="only damages whose name contains this word")
    options = parser.parse_args()
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())

"""Reading order on real scans: pages of magazines, journals and a newspaper, our engine and others.

    python -m tests.benchmarks.scans leptonlib_1.82.0.orig.tar.gz [--engines ours,rapidocr,tesseract] [--scans WORD]

The pages are among leptonica's test images, in the source of Debian's package leptonlib. With a deb-src line in apt's
sources, `apt-get source --download-only leptonlib` downloads it. A jump is a phrase that does not follow the one before
it.
"""

import argparse
import itertools
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from rapidfuzz import fuzz

from pipeline.errors import EngineError
from tests.evaluation.engines import ENGINES, encode_png

SCANS = Path(__file__).parents[1] / "evaluation" / "scans.toml"

MIN_SIMILARITY = 75
"""Similarity, of 100, from which a phrase counts as read, although some of its letters may be wrong."""


def main() -> int:
    """Print one row per scan: its phrases, and for each engine the phrases that it read and its jumps."""
    options = _options()
    if not options.source.is_file():
        sys.exit(
            f"{options.source} is missing: apt-get source --download-only leptonlib, with deb-src in apt's sources"
        )
    try:
        engines = {name: ENGINES[name]() for name in options.engines}
    except EngineError as exc:
        sys.exit(str(exc))
    scans = [scan for scan in tomllib.loads(SCANS.read_text())["scan"] if options.scans in scan["file"]]
    sums = dict.fromkeys(engines, (0, 0))
    print(f"{'scan':<20}{'phrases':>8}" + "".join(f"{name + ' read':>16}{'jumps':>6}" for name in engines))
    for scan in scans:
        image = _load(options.source, scan["file"])
        counts = {name: count_jumps(scan["phrases"], read(image)) for name, read in engines.items()}
        sums = {name: (read + counts[name][0], jumps + counts[name][1]) for name, (read, jumps) in sums.items()}
        _print_counts(scan["file"], len(scan["phrases"]), list(counts.values()))
    _print_counts("all", sum(len(scan["phrases"]) for scan in scans), list(sums.values()))
    return 0


def count_jumps(phrases: Sequence[str], text: str) -> tuple[int, int]:
    """Return the number of phrases found in a text, and of those that do not follow the phrase before them.

    Args:
        phrases: In reading order.
        text: The text of an engine; white space is ignored.
    """
    read = "".join(text.split())
    places = [
        fuzz.partial_ratio_alignment("".join(phrase.split()), read, score_cutoff=MIN_SIMILARITY) for phrase in phrases
    ]
    starts = [place.dest_start for place in places if place is not None]
    order = sorted(range(len(starts)), key=starts.__getitem__)
    return len(starts), sum(after != before + 1 for before, after in itertools.pairwise(order))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scans")
    parser.add_argument("source", type=Path, help="leptonica's source, a .tar.gz")
    parser.add_argument("--engines", type=partial(str.split, sep=","), default=["ours", "rapidocr", "tesseract"])
    parser.add_argument("--scans", default="", help="only scans whose name contains this word")
    options = parser.parse_args()
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    return options


def _load(source: Path, name: str) -> bytes:
    with tarfile.open(source) as archive:
        member = next((each for each in archive if each.name.endswith(f"/prog/{name}")), None)
        if member is None:
            sys.exit(f"{source} has no file prog/{name}; get leptonlib 1.82.0")
        file = archive.extractfile(member)
        assert file is not None
        # From memory: for a file with a descriptor Pillow has libtiff read it, and a member of an archive has none.
        return encode_png(Image.open(BytesIO(file.read())).convert("L"))


def _print_counts(name: str, phrases: int, counts: Sequence[tuple[int, int]]) -> None:
    print(f"{name:<20}{phrases:>8}" + "".join(f"{read:>16}{jumps:>6}" for read, jumps in counts), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Are real scans read in a reader's order? Pages of magazines, journals and a newspaper, ours beside other engines.

    python -m tests.benchmarks.scans leptonlib_1.82.0.orig.tar.gz [--engines ours,rapidocr,tesseract] [--scans WORD]

The pages are among leptonica's test images, in the source of Debian's package: with a deb-src line in apt's list,
`apt-get source --download-only leptonlib` gets it. A jump is a phrase that does not follow the one before it.
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

FOUND = 75
"""Likeness, of 100, from which on a phrase counts as read, some of its letters wrong."""


def main() -> int:
    """Print a line a scan: phrases, and for each engine how many it read and how often it jumped."""
    options = _options()
    if not options.source.is_file():
        sys.exit(f"{options.source} is missing: apt-get source --download-only leptonlib, with deb-src in apt's list")
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
    """Return how many phrases stand in a text, and how many of them do not follow the one that they should.

    Args:
        phrases: In a reader's order.
        text: As an engine read it; white space counts nowhere.
    """
    read = "".join(text.split())
    places = [fuzz.partial_ratio_alignment("".join(phrase.split()), read, score_cutoff=FOUND) for phrase in phrases]
    starts = [place.dest_start for place in places if place is not None]
    order = sorted(range(len(starts)), key=starts.__getitem__)
    return len(starts), sum(after != before + 1 for before, after in itertools.pairwise(order))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scans")
    parser.add_argument("source", type=Path, help="leptonica's source, a .tar.gz")
    parser.add_argument("--engines", type=partial(str.split, sep=","), default=["ours", "rapidocr", "tesseract"])
    parser.add_argument("--scans", default="", help="only scans with this in their name")
    options = parser.parse_args()
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    return options


def _load(source: Path, name: str) -> bytes:
    with tarfile.open(source) as archive:
        member = next((each for each in archive if each.name.endswith(f"/prog/{name}")), None)
        if member is None:
            sys.exit(f"{source}: no file prog/{name}: another version of leptonlib?")
        file = archive.extractfile(member)
        assert file is not None
        # Pillow asks libtiff to read a file that has a descriptor; a member of an archive has none.
        return encode_png(Image.open(BytesIO(file.read())).convert("L"))


def _print_counts(name: str, phrases: int, counts: Sequence[tuple[int, int]]) -> None:
    print(f"{name:<20}{phrases:>8}" + "".join(f"{read:>16}{jumps:>6}" for read, jumps in counts), flush=True)


if __name__ == "__main__":
    sys.exit(main())

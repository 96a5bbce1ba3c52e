"""Character error rates of our engines, RapidOCR and Tesseract, measured on the same pages in one run.

    python -m tests.benchmarks.accuracy [--seed N] [--pages N] [--engines ours,bf16,fast,rapidocr,tesseract]
        [--groups WORD] [--show]

The pages are rendered from known text, determined by the seed: tune on one seed, report another. The first table counts
each run of white space, of spaces or line ends, as one character; the second ignores white space. The engine "bf16",
ours in bfloat16, runs where the processor has it.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial

from pipeline.errors import EngineError
from tests.accuracy import edit_distance, spaced_text
from tests.evaluation.engines import ENGINES, Read, encode_png, usual_engines
from tests.evaluation.groups import GROUPS, SMALL_GROUPS, Group, Sample, samples


@dataclass(slots=True)
class Score:
    """Characters and errors of an engine in a group, with and without white space."""

    characters: int = 0
    errors: int = 0
    letters: int = 0
    wrong_letters: int = 0

    def add(self, truth: str, text: str) -> None:
        """Add the characters and the errors of a page."""
        wanted, got = spaced_text(truth), spaced_text(text)
        self.characters += len(wanted)
        self.errors += edit_distance(wanted, got)
        wanted, got = wanted.replace(" ", ""), got.replace(" ", "")
        self.letters += len(wanted)
        self.wrong_letters += edit_distance(wanted, got)


def main() -> int:
    """Print one row per group as soon as its pages are read, then the rows without white space."""
    options = _options()
    try:
        engines = {name: ENGINES[name]() for name in options.engines}
    except EngineError as exc:
        sys.exit(str(exc))
    groups = [group for group in GROUPS + SMALL_GROUPS if options.groups in group.name]
    scores: dict[str, dict[str, Score]] = {}
    spent_s: dict[str, float] = defaultdict(float)
    print(f"seed {options.seed}, {options.pages} pages per group; wrong characters in %, with white space")
    print(f"{'group':<24}{'characters':>12}" + "".join(f"{name:>12}" for name in engines))
    for group in groups:
        scores[group.name] = _read_group(group, engines, spent_s, options)
        _print_rates(group.name, scores[group.name], "errors", "characters")
    print("\nwithout white space")
    for name, each in scores.items():
        _print_rates(name, each, "wrong_letters", "letters")
    pages = len(groups) * options.pages
    print(f"\n{'seconds per page':<36}" + "".join(f"{spent_s[name] / pages:>12.2f}" for name in engines))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.accuracy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pages", type=int, default=3, help="pages per group")
    parser.add_argument("--engines", type=partial(str.split, sep=","), default=usual_engines())
    parser.add_argument("--groups", default="", help="only groups whose name contains this word")
    parser.add_argument("--show", action="store_true", help="print the wrong characters")
    options = parser.parse_args()
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    if options.pages < 1:
        parser.error("--pages must be at least 1")
    if not any(options.groups in group.name for group in GROUPS + SMALL_GROUPS):
        parser.error(f"no group's name contains {options.groups!r}")
    return options


def _read_group(
    group: Group, engines: Mapping[str, Read], spent_s: dict[str, float], options: argparse.Namespace
) -> dict[str, Score]:
    """Read the same pages with every engine; add the time of each to `spent_s`."""
    scores = {name: Score() for name in engines}
    for sample in samples(group, options.seed, options.pages):
        image = encode_png(sample.picture)
        for name, read in engines.items():
            begun_s = time.monotonic()
            text = read(image)
            spent_s[name] += time.monotonic() - begun_s
            scores[name].add(sample.truth, text)
            if options.show:
                _show(name, sample, text)
    return scores


def _show(name: str, sample: Sample, text: str) -> None:
    """Print each run of wrong characters after the 12 characters before it."""
    wanted, got = spaced_text(sample.truth), spaced_text(text)
    matcher = SequenceMatcher(None, wanted, got, autojunk=False)
    for kind, start, end, got_start, got_end in matcher.get_opcodes():
        if kind != "equal":
            before = wanted[max(0, start - 12) : start]
            print(f"  {name} {sample.language}: …{before}[{wanted[start:end]}|{got[got_start:got_end]}]")


def _print_rates(group: str, scores: Mapping[str, Score], errors: str, characters: str) -> None:
    """Print the error rates of a group, from these two attributes of its scores."""
    counts: Sequence[int] = [getattr(score, characters) for score in scores.values()]
    rates = [100 * getattr(score, errors) / max(1, count) for score, count in zip(scores.values(), counts, strict=True)]
    print(f"{group:<24}{counts[0]:>12,}" + "".join(f"{rate:>12.2f}" for rate in rates), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Character error rates of our engines, RapidOCR and Tesseract, measured on the same pages in one run.

    python -m tests.benchmarks.accuracy [--seeds N,N,...] [--pages N] [--engines ours,bf16,fast,rapidocr,tesseract]
        [--groups REGEX] [--show] [--save DIRECTORY]

The pages are rendered from known text, determined by a seed. Five seeds are drawn when the program starts, so that
nobody can have tuned on them, and printed, so that the figures can be checked: `--seeds` reads the same pages again. A
group has one page per seed and language. A quick look: `--seeds 1 --pages 1 --groups forms --engines ours`.

The tables are Markdown. A cell is the mean of a group, by characters, and its worst page. The first table counts each
run of white space, of spaces or line ends, as one character; the second ignores white space; the third ignores the
order of characters, too, so that it tells what was misread from what is out of place; the fourth counts amounts of
money that are not found as whole tokens. Lines of dashes and leader dots, and boxes to tick, do not count as text.

The engine "bf16", ours in bfloat16, runs where the processor has it.
"""

import argparse
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

from pipeline.errors import EngineError
from tests.accuracy import spaced_text
from tests.evaluation.engines import ENGINES, Read, encode_png, usual_engines
from tests.evaluation.groups import GROUPS, Group, make_sample
from tests.evaluation.scoring import Score, score_page

SEEDS = 5
WORST_PAGES = 10

TABLES = {
    "wrong characters in %, white space included: mean / worst page": "errors",
    "wrong characters in % without white space: mean / worst page": "wrong_letters",
    "the same when order does not count": "unordered_errors",
}
"""Attributes of `Score` by the title of their table."""


@dataclass(slots=True)
class TimedEngine:
    """An engine and the time that it has taken so far."""

    name: str
    read_image: Read
    spent_s: float = 0.0

    def read(self, image: bytes) -> str:
        """Return the text of an encoded page."""
        begun_s = time.monotonic()
        text = self.read_image(image)
        self.spent_s += time.monotonic() - begun_s
        return text


@dataclass(frozen=True, slots=True)
class PageScore:
    """An engine's score on a page, which group, seed and number determine."""

    engine: str
    group: str
    seed: int
    number: int
    score: Score


def main() -> int:
    """Read all pages with every engine and print the tables."""
    options = _options()
    try:
        engines = [TimedEngine(name, ENGINES[name]()) for name in options.engines]
    except EngineError as exc:
        sys.exit(str(exc))
    scores: list[PageScore] = []
    print(f"seeds {','.join(map(str, options.seeds))}", flush=True)
    for group in options.groups:
        for seed in options.seeds:
            for number in range(options.pages or len(group.languages)):
                scores += _read_page(group, seed, number, engines, options)
        _report_progress(group.name, scores, engines)
    print_tables(scores)
    pages = len(scores) // len(engines)
    print("\nseconds per page: " + ", ".join(f"{engine.name} {engine.spent_s / pages:.2f}" for engine in engines))
    return 0


def print_tables(scores: Sequence[PageScore]) -> None:
    """Print the error rates of each group and engine, the amounts that are missed, and the worst pages."""
    for title, errors in TABLES.items():
        print(f"\n{title}\n")
        _print_table(scores, "characters" if errors == "errors" else "letters", partial(_mean_and_worst, errors=errors))
    if with_amounts := [page for page in scores if page.score.amounts]:
        print("\namounts missed, of all\n")
        _print_table(with_amounts, "amounts", lambda page: f"{_sum(page).missed_amounts} of {_sum(page).amounts}")
    first = scores[0].engine
    worst = sorted(
        (page for page in scores if page.engine == first), key=lambda page: -page.score.percent("wrong_letters")
    )
    print(f"\nworst pages of {first}, without white space\n")
    for page in worst[:WORST_PAGES]:
        rate = page.score.percent("wrong_letters")
        print(f"- {page.group}, seed {page.seed}, page {page.number}: {rate:.1f} %")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.accuracy")
    drawn = random.SystemRandom().sample(range(1_000, 1_000_000), SEEDS)
    split = partial(str.split, sep=",")
    parser.add_argument("--seeds", type=split, default=drawn, help="seeds of the pages (five, drawn now)")
    parser.add_argument("--pages", type=int, default=0, help="pages per group and seed (one per language)")
    parser.add_argument("--engines", type=split, default=usual_engines())
    parser.add_argument("--groups", default="", help="only groups in whose name this regular expression is found")
    parser.add_argument("--show", action="store_true", help="print the wrong characters")
    parser.add_argument("--save", type=Path, help="write the pages, their texts and what was read to this directory")
    options = parser.parse_args()
    try:
        options.seeds = list(map(int, options.seeds))
    except ValueError:
        parser.error("--seeds must be numbers with commas between them")
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    if options.pages < 0:
        parser.error("--pages must be at least 1")
    regex, options.groups = options.groups, [group for group in GROUPS if re.search(options.groups, group.name)]
    if not options.groups:
        parser.error(f"no group's name matches {regex!r}")
    return options


def _read_page(
    group: Group,
    seed: int,
    number: int,
    engines: Iterable[TimedEngine],
    options: argparse.Namespace,
) -> list[PageScore]:
    """Read a page with every engine."""
    sample = make_sample(group, seed, number)
    image = encode_png(sample.picture)
    texts = {engine.name: engine.read(image) for engine in engines}
    if options.show:
        for name, text in texts.items():
            _show(f"{name} {group.name} {seed} {number} {sample.language}", sample.truth, text)
    if options.save:
        _save(options.save / group.name / f"{seed}-{number}", image, {"": sample.truth, **texts})
    scores = ((name, score_page(sample.truth, text)) for name, text in texts.items())
    return [PageScore(name, group.name, seed, number, score) for name, score in scores]


def _show(name: str, truth: str, text: str) -> None:
    """Print each run of wrong characters after the 12 characters before it."""
    wanted, got = spaced_text(truth), spaced_text(text)
    matcher = SequenceMatcher(None, wanted, got, autojunk=False)
    for kind, start, end, got_start, got_end in matcher.get_opcodes():
        if kind != "equal":
            before = wanted[max(0, start - 12) : start]
            print(f"  {name}: …{before}[{wanted[start:end]}|{got[got_start:got_end]}]")


def _save(path: Path, image: bytes, texts: Mapping[str, str]) -> None:
    """Write a page as `real_pages` reads it, x.png beside x.txt, and the text of each engine as x.ENGINE.text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.png").write_bytes(image)
    for name, text in texts.items():
        path.with_name(f"{path.name}.{name}.text" if name else f"{path.name}.txt").write_text(text, "utf-8")


def _report_progress(group: str, scores: Iterable[PageScore], engines: Iterable[TimedEngine]) -> None:
    pages = [page for page in scores if page.group == group]
    cells = (
        f"{engine.name} {_mean_and_worst([page for page in pages if page.engine == engine.name], 'wrong_letters')}"
        for engine in engines
    )
    print(f"{group}: {', '.join(cells)}", file=sys.stderr, flush=True)


def _print_table(scores: Sequence[PageScore], size: str, cell: Callable[[Sequence[PageScore]], str]) -> None:
    """Print a table with a row per group and one for all, a column per engine, and the size of each group."""
    engines = list(dict.fromkeys(page.engine for page in scores))
    print(f"| {'group':<24} | pages | {size:>10} |" + "".join(f" {name:>14} |" for name in engines))
    print(f"|{'-' * 26}|{'-' * 6}:|{'-' * 11}:|" + f"{'-' * 15}:|" * len(engines))
    for group in (*dict.fromkeys(page.group for page in scores), "all"):
        rows = [[page for page in scores if page.engine == name and group in {page.group, "all"}] for name in engines]
        total = getattr(_sum(rows[0]), size)
        print(f"| {group:<24} | {len(rows[0]):>5} | {total:>10,} |" + "".join(f" {cell(row):>14} |" for row in rows))


def _mean_and_worst(pages: Sequence[PageScore], errors: str) -> str:
    worst = max(page.score.percent(errors) for page in pages)
    return f"{_sum(pages).percent(errors):.2f} / {worst:.1f}"


def _sum(pages: Iterable[PageScore]) -> Score:
    return sum((page.score for page in pages), Score())


if __name__ == "__main__":
    sys.exit(main())

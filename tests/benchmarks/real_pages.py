"""Character error rates of our engine, RapidOCR and Tesseract on any folder of page images with their texts.

    python -m tests.benchmarks.real_pages PATH [--engines ours,rapidocr,tesseract] [--groups WORD] [--show]

Each image has its text in a file of the same name that ends in .txt. The groups are the subfolders. A manifest.json, a
list of objects with `file` and any of `group`, `complete` and `casefold`, says where the truth leaves text out, and
where its case does not count.

Where the truth is complete, a page's rate is the edits that turn the text into the truth, in order; elsewhere those
between each line of the truth and the part of the text that is most like it. Both ignore white space. The tables print
the mean of each group, by characters, and its worst page; the rates when order does not count; and the amounts of
money that are not found as whole tokens.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError
from tests.evaluation.engines import ENGINES
from tests.evaluation.scoring import errors_by_lines, errors_in_order, errors_order_free, letters, missed_amounts

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}


@dataclass(frozen=True, slots=True)
class RealPage:
    """An image and its text.

    Attributes:
        complete: The truth holds all of the page's text.
        casefold: Upper and lower case do not count.
    """

    path: Path
    group: str
    truth: str
    complete: bool = True
    casefold: bool = False

    def errors(self, text: str) -> int:
        """Return the errors of a text, in order where the truth is complete."""
        return (errors_in_order if self.complete else errors_by_lines)(self.truth, self.fold(text))

    def errors_order_free(self, text: str) -> int:
        """Return the errors of a text when order does not count."""
        return errors_order_free(self.truth, self.fold(text), complete=self.complete)

    def fold(self, text: str) -> str:
        """Return the text as it is compared."""
        return text.casefold() if self.casefold else text


def find_pages(folder: Path) -> Iterator[RealPage]:
    """Yield the pages of a folder, sorted by name.

    Raises:
        OSError: a file cannot be read; an image without a text names the text that is missing.
        ValueError: the manifest is invalid.
    """
    manifest = folder / "manifest.json"
    rows = json.loads(manifest.read_bytes()) if manifest.exists() else []
    told: Mapping[str, Mapping[str, Any]] = {row["file"]: row for row in rows}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        name = path.relative_to(folder)
        row = told.get(name.as_posix(), {})
        casefold = bool(row.get("casefold"))
        truth = path.with_suffix(".txt").read_text("utf-8-sig")
        yield RealPage(
            path,
            str(row.get("group") or name.parent.as_posix()),
            truth.casefold() if casefold else truth,
            bool(row.get("complete", True)),
            casefold,
        )


def main() -> int:
    """Read every page with every engine and print the tables."""
    options = _options()
    try:
        pages = [page for page in find_pages(options.path) if options.groups in page.group]
        engines = {name: ENGINES[name]() for name in options.engines}
    except (EngineError, OSError, ValueError, KeyError) as exc:
        sys.exit(f"{type(exc).__name__}: {exc}")
    if not pages:
        sys.exit(f"no images with such a group in {options.path}")
    texts: dict[str, list[str]] = defaultdict(list)
    spent_s: dict[str, float] = defaultdict(float)
    for page in pages:
        for name, read in engines.items():
            begun_s = time.monotonic()
            texts[name].append(read(page.path.read_bytes()))
            spent_s[name] += time.monotonic() - begun_s
        if options.show:
            rates = "  ".join(f"{name} {_percent(page.errors(texts[name][-1]), page):.1f}" for name in engines)
            print(f"{page.path.relative_to(options.path)}: {rates}", flush=True)
    print("wrong characters in %: mean / worst page")
    _print_rates(pages, texts, RealPage.errors)
    print("\nthe same when order does not count")
    _print_rates(pages, texts, RealPage.errors_order_free)
    print("\namounts missed, of all")
    for name, read_texts in texts.items():
        missed = [missed_amounts(page.truth, page.fold(text)) for page, text in zip(pages, read_texts, strict=True)]
        print(f"{name:<14}{sum(some for some, _ in missed):>6} of {sum(every for _, every in missed)}")
    print("\nseconds per page: " + ", ".join(f"{name} {spent_s[name] / len(pages):.2f}" for name in engines))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.real_pages")
    parser.add_argument("path", type=Path)
    parser.add_argument("--engines", type=partial(str.split, sep=","), default=["ours", "rapidocr", "tesseract"])
    parser.add_argument("--groups", default="", help="only groups whose name contains this word")
    parser.add_argument("--show", action="store_true", help="print the rates of each page")
    options = parser.parse_args()
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    return options


def _print_rates(pages: list[RealPage], texts: Mapping[str, list[str]], errors: Callable[[RealPage, str], int]) -> None:
    """Print a row per group and one for all: mean and worst rate of each engine."""
    print(f"{'group':<16}{'pages':>6}{'characters':>12}" + "".join(f"{name:>16}" for name in texts))
    for group in (*sorted({page.group for page in pages}), ""):
        numbers = [number for number, page in enumerate(pages) if group in {page.group, ""}]
        characters = sum(len(letters(pages[number].truth)) for number in numbers)
        cells = []
        for read_texts in texts.values():
            wrong = {number: errors(pages[number], read_texts[number]) for number in numbers}
            worst = max(_percent(wrong[number], pages[number]) for number in numbers)
            cells.append(f"{100 * sum(wrong.values()) / max(1, characters):>8.2f} /{worst:>6.1f}")
        print(f"{group or 'all':<16}{len(numbers):>6}{characters:>12,}" + "".join(cells))


def _percent(errors: int, page: RealPage) -> float:
    return 100 * errors / max(1, len(letters(page.truth)))


if __name__ == "__main__":
    sys.exit(main())

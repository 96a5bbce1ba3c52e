"""Which share of empty sheets `--skip-blank` finds, and whether it takes a page with anything on it for one.

`python -m tests.benchmarks.blank_pages [FIRST LAST]` scans each kind of the tests with these seeds (11 to 15).
"""

import sys
from collections.abc import Mapping, Sequence

from pipeline.inputs.blank import measure_ink
from tests.inputs.blank_kinds import BLANK_KINDS, TEXT_KINDS, Kind


def measure(kinds: Mapping[str, Kind], seeds: range) -> dict[str, list[float]]:
    """Return the ink of the scans of each kind."""
    return {name: [measure_ink(make(seed)) for seed in seeds] for name, make in kinds.items()}


def main(arguments: Sequence[str]) -> int:
    """Print the figures; return 1 when a page that must be sent was taken for blank."""
    first, last = (int(argument) for argument in arguments or ("11", "15"))
    seeds = range(first, last + 1)
    texts, blanks = measure(TEXT_KINDS, seeds), measure(BLANK_KINDS, seeds)
    lost = [(name, min(inks)) for name, inks in texts.items() if min(inks) < 1]
    pages = sum(map(len, texts.values()))
    print(f"{len(texts)} kinds with something on them, {pages} pages: {len(lost)} kinds with a skipped page {lost}")
    for name, inks in sorted(texts.items(), key=lambda item: min(item[1]))[:8]:
        print(f"  least ink {min(inks):6.2f}  {name}")
    found = sum(ink < 1 for inks in blanks.values() for ink in inks)
    total = sum(map(len, blanks.values()))
    print(f"{len(blanks)} kinds of empty sheets, {total} scans: {found} found ({100 * found / total:.0f} %); sent:")
    for name, inks in blanks.items():
        if max(inks) >= 1:
            print(f"  {sum(ink >= 1 for ink in inks)} of {len(inks)}  {name}: {' '.join(f'{ink:.2f}' for ink in inks)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

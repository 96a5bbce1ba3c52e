"""Words for SQLite's full-text index, which takes a run of Chinese characters for one word.

Each run is replaced by all of its parts of one to four characters, so that a search for a word of that length finds it
as it is typed. A longer phrase is found by its characters in quotes, with spaces: "中 华 人 民 共 和 国".
"""

import re
from typing import Final

MAX_CHARACTERS: Final = 4

_CJK: Final = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN: Final = re.compile(f"[{_CJK}]+")


def spread_words(text: str) -> str:
    """Return the text with every run of Chinese or Japanese characters as its parts, the single characters first."""
    return _RUN.sub(_spread, text)


def _spread(match: re.Match[str]) -> str:
    run = match[0]
    sizes = range(1, min(MAX_CHARACTERS, len(run)) + 1)  # single characters first, side by side, for phrases
    parts = (run[begin : begin + size] for size in sizes for begin in range(len(run) - size + 1))
    return f" {' '.join(parts)} "

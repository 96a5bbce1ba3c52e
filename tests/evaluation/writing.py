"""Random sentences, Chinese and English, determined by a seed: common words, rare names, digits and punctuation.

No model can have learned them, unlike any text that is on the web.
"""

import random
import re
import string
import tomllib
from pathlib import Path
from typing import Literal

from opencc import OpenCC

from tests.evaluation.values import VALUES, VALUES_BY_LANGUAGE

Language = Literal["zh", "en", "mixed", "traditional"]
LANGUAGES: tuple[Language, ...] = ("zh", "en", "mixed")
"""Languages that are set in rows; traditional Chinese is set in columns."""

NUMERALS = str.maketrans("0123456789", "〇一二三四五六七八九")
TRADITIONAL = OpenCC("s2tw")
QUOTES = str.maketrans("《》", "「」")
"""From the quotation marks of titles in simplified Chinese to those in traditional Chinese."""

COMMON_HAN = bytes(byte for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF) for byte in (row, cell)).decode(
    "gb2312", "ignore"
)
"""GB 2312-80, level 1: the 3,755 characters in everyday use."""

BLANK = re.compile(r"\{(\w+)\}")
_RUNNING, _DOCUMENTS = (
    tomllib.loads((Path(__file__).parent / name).read_text("utf-8")) for name in ("words.toml", "documents/words.toml")
)
WORDS: dict[str, dict[str, list[str]]] = {
    language: words | _DOCUMENTS.get(language, {}) for language, words in _RUNNING.items()
}
"""By language: words by kind, and templates whose blanks, like `{noun}`, `Writer` fills."""


class Writer:
    """Generates text; the same random source generates the same text."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def paragraph(self, language: Language, sentences: int) -> str:
        """Return a paragraph of this many sentences; a mixed one is Chinese with English words in it."""
        return ("" if language != "en" else " ").join(self._fill(language, "sentence") for _ in range(sentences))

    def title(self, language: Language) -> str:
        """Return a heading of a few words."""
        title = self._fill(language, "title")
        return title[:1].upper() + title[1:]

    def note(self, language: Language, number: int) -> str:
        """Return the text of a footnote or a caption, with its number."""
        return f"{number}. {self._fill(language, 'note')}"

    def row(self, language: Language, cells: int) -> list[str]:
        """Return the cells of a table's row: a name, then numbers."""
        number = self._rng.randrange
        decimal = f"{number(10, 9_999) / 100:.2f}"
        first = self._rng.choice((f"{number(2, 99_999):,}", decimal, str(number(1_780, 1_990))))
        return [self._fill(language, "entry"), first, *(f"{number(2, 9_999):,}" for _ in range(cells - 2))]

    def header(self, language: Language, cells: int) -> list[str]:
        """Return the headers of a table's columns."""
        return WORDS[language]["header"][:cells]

    def phrase(self, language: Language, kind: str) -> str:
        """Return a random template or word of this kind with its blanks filled."""
        return self._fill(language, kind)

    def parts(self, language: Language, kind: str) -> list[str]:
        """Return the parts of a phrase, such as a field's label and value."""
        return self._fill(language, kind).split("|")

    def columns(self, language: Language, kind: str) -> list[tuple[str, str]]:
        """Return the columns of a random table of this kind: the header and the template of each."""
        head, *others = self._rng.choice(WORDS[language][kind]).split("|")
        return [(name, template) for name, _, template in (text.partition("=") for text in (head, *others))]

    def fill(self, language: Language, template: str) -> str:
        """Return a template with its blanks filled."""
        return BLANK.sub(lambda blank: self._blank(language, blank[1]), template)

    def _fill(self, language: Language, kind: str) -> str:
        """Return a random template or word of this kind with its blanks filled."""
        if language == "traditional":
            text: str = TRADITIONAL.convert(self._fill("zh", kind))
            return text.translate(QUOTES)
        words = {**WORDS["zh"], **WORDS["mixed"]} if language == "mixed" else WORDS[language]
        return self.fill(language, self._rng.choice(words[kind]))

    def _blank(self, language: Language, kind: str) -> str:
        number = self._rng.randrange
        match kind:
            case "name" | "NAME" | "lower":
                syllables = self._rng.sample(WORDS["en"]["syllable"], 2)
                text = "".join([*syllables, self._rng.choice(WORDS["en"]["ending"])])
                text = {"name": text.capitalize(), "NAME": text.upper(), "lower": text}[kind]
            case "email":
                text = f"{self._blank(language, 'lower')}@{self._blank(language, 'lower')}.com"
            case "han2" | "han3":
                text = "".join(self._rng.choices(COMMON_HAN, k=int(kind[-1])))
            case "letters":
                text = "".join(self._rng.choices(string.ascii_uppercase, k=2))
            case "year" | "month" | "number":
                text = str({"year": number(1780, 1990), "month": number(1, 13), "number": number(2, 980)}[kind])
            case _ if kind in VALUES:
                text = VALUES[kind](self._rng)
            case _ if kind in VALUES_BY_LANGUAGE.get(language, {}):
                text = VALUES_BY_LANGUAGE[language][kind](self._rng)
            case _:
                text = self._fill("en" if kind.startswith("en_") else language, kind.removeprefix("en_"))
        return text


def in_chinese_numerals(text: str) -> str:
    """Return the text with its digits as Chinese numerals, as in vertical writing."""
    return text.translate(NUMERALS)

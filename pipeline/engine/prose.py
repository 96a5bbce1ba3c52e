"""Whether a line reads as a part of a sentence, as an item of a list, or as a cell: a label, a name, an amount.

Evidence for reading order, by words, where boxes alone look alike: a column of names beside a column of addresses has
the geometry of two columns of text. It need not hold for every line of a text, only for a good part of its lines, and
seldom for cells:

- a sentence in Latin letters has words in lower case, most of its lines begin with one, and labels and names begin
  with capitals: "Payment method", "Current status";
- a Chinese sentence has a punctuation mark in every ten to fifteen characters, and cells have none;
- cells consist of digits, or end with a colon;
- an item of a list begins with a bullet or a dash.
"""

from typing import Final

from pipeline.engine.punctuation import is_wide

MIN_LETTERS_PER_DIGIT: Final = 2
MIN_WIDE_LETTERS: Final = 4
MIN_WORDS: Final = 2

MIN_LOWER_SHARE: Final = 1 / 3
"""Share of the words of a short line that begin with a lower-case letter, the first being one of them; in German a
third of the words are nouns."""

MANY_WORDS: Final = 5
MANY_WIDE_LETTERS: Final = 16
"""This many words or Chinese characters are a part of a sentence, also in capitals or without marks."""

COLONS: Final = (":", "：")
BULLETS: Final = frozenset("•·●▪■◆∙・‣➢►")
DASHES: Final = frozenset("-–—")
"""What an item of a list begins with; a dash before a figure is a sign. A box to tick is no bullet: the choices of a
form are read across."""

STOPS: Final = frozenset("，。；、！？,;")


def is_item(text: str) -> bool:
    """Return whether a line begins with a bullet or a dash, as an item of a list does."""
    sign, rest = text.lstrip()[:1], text.lstrip()[1:].lstrip()
    return sign in BULLETS or (sign in DASHES and rest[:1].isalpha())


def is_prose(text: str) -> bool:
    """Return whether a line reads as a part of a sentence."""
    letters = [character for character in text if character.isalpha()]
    digits = sum(character.isdigit() for character in text)
    if not letters or len(letters) < MIN_LETTERS_PER_DIGIT * digits or text.rstrip().endswith(COLONS):
        return False
    wide = sum(map(is_wide, letters))
    if 2 * wide > len(letters):
        return wide >= MANY_WIDE_LETTERS or (wide >= MIN_WIDE_LETTERS and not STOPS.isdisjoint(text))
    initials = [next(filter(str.isalpha, word), "") for word in text.split()]
    words = [initial for initial in initials if initial]
    lower = sum(map(str.islower, words))
    if len(words) < MIN_WORDS or len(words) >= MANY_WORDS:
        return len(words) >= MANY_WORDS
    return words[0].islower() and lower >= MIN_LOWER_SHARE * len(words)

"""Which pages an export takes (`--where`), and into which split each document goes (`--split`)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import accumulate
from math import isclose
from typing import Final

from pipeline.errors import UsageError
from pipeline.quality import Quality
from pipeline.records import State
from pipeline.workspace.finished_pages import FinishedPage
from pipeline.workspace.source_names import decode_name

_EXPORTABLE: Final = {state.value: state for state in (State.DONE, State.DUPLICATE, State.SKIPPED)}
_CONDITION: Final = re.compile(r"(state|source|quality|review)\s*(!=|=|<|>=)\s*(.+)")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_IN_DOUBT: Final = "in-doubt"
_REVIEWS: Final = frozenset({"corrected", "checked"})


@dataclass(frozen=True, slots=True)
class Where:
    """The pages that an export takes.

    Attributes:
        states: The page's state is one of these.
        sources: Its source matches each of these globs; a glob that begins with "!" must not match.
        in_doubt: The service doubts its text, or must not; None for either.
        least_score: Lowest score of its quality; a page without quality has none.
        below_score: Bound above its score.
        reviews: What a person must have done to its text: "corrected", "checked"; or must not, after a "!".
    """

    states: tuple[State, ...] = (State.DONE, State.DUPLICATE)
    sources: tuple[str, ...] = ()
    in_doubt: bool | None = None
    least_score: float | None = None
    below_score: float | None = None
    reviews: tuple[str, ...] = ()

    @classmethod
    def parse(cls, conditions: Sequence[str]) -> "Where":
        """Return the pages that meet all conditions.

        Args:
            conditions: Such as "state=done", "source=letters/*", "source!=*.gif", "quality>=0.8", "quality<0.8",
                "quality=in-doubt", "quality!=in-doubt", "review=checked" and "review!=corrected".

        Raises:
            UsageError: a condition cannot be read.
        """
        where = cls()
        for condition in conditions:
            where = where._add(condition)
        return where

    @property
    def reads_quality(self) -> bool:
        """True when the index alone cannot decide."""
        return self.least_score is not None or self.below_score is not None

    def takes(self, page: FinishedPage) -> bool:
        """Return whether a page meets the conditions that the index can decide; its state is one of them."""
        if self.in_doubt is not None and page.in_doubt != self.in_doubt:
            return False
        done = {"corrected": page.is_corrected, "checked": page.is_checked}
        if any(done[each.removeprefix("!")] == each.startswith("!") for each in self.reviews):
            return False
        if not self.sources:
            return True
        name = decode_name(page.source)
        return all(fnmatchcase(name, glob.removeprefix("!")) != glob.startswith("!") for glob in self.sources)

    @property
    def takes_reviewed(self) -> bool:
        """True when the conditions on the score take a text that a person wrote or checked, whatever its score."""
        return self.below_score is None

    def takes_quality(self, quality: Quality | None) -> bool:
        """Return whether a text of this quality meets the conditions on its score."""
        if not self.reads_quality:
            return True
        if quality is None:
            return False
        is_enough = self.least_score is None or quality.score >= self.least_score
        return is_enough and (self.below_score is None or quality.score < self.below_score)

    def _add(self, condition: str) -> "Where":
        match = _CONDITION.fullmatch(condition.strip())
        if match is None:
            raise UsageError(
                f"--where {condition}: expected state=, source=, quality= or review= with a value, or quality>=N"
            )
        field, operator, value = match.groups()
        states, sources, reviews = self.states, self.sources, self.reviews
        in_doubt, least, below = self.in_doubt, self.least_score, self.below_score
        if field == "state" and operator == "=":
            states = _parse_states(condition, value)
        elif field == "source" and operator in {"=", "!="}:
            sources = (*sources, value if operator == "=" else f"!{value}")
        elif field == "review" and value in _REVIEWS and operator in {"=", "!="}:
            reviews = (*reviews, value if operator == "=" else f"!{value}")
        elif field == "review" and operator in {"=", "!="}:
            raise UsageError(f"--where {condition}: a text is corrected, or checked")
        elif field == "quality" and value == _IN_DOUBT and operator in {"=", "!="}:
            in_doubt = operator == "="
        elif field == "quality" and operator == ">=":
            least = _parse_score(condition, value)
        elif field == "quality" and operator == "<":
            below = _parse_score(condition, value)
        else:
            raise UsageError(f"--where {condition}: {field} cannot be compared with {operator}")
        return Where(states, sources, in_doubt, least, below, reviews)


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of the documents by name, such as train and test; equal contents go to the same one.

    Attributes:
        shares: By name, in (0, 1]; their sum is 1.
        seed: Another seed gives other members.
    """

    shares: Mapping[str, float]
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int) -> "Split":
        """Return the split of a text such as "train=0.9,test=0.1".

        Raises:
            UsageError: it cannot be read, or the shares do not add up to 1.
        """
        shares: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if not _NAME.fullmatch(name) or name in shares:
                raise UsageError(f"--split {text}: expected names of letters and digits, each once: train=0.9,test=0.1")
            shares[name] = _parse_share(text, value)
        if not isclose(sum(shares.values()), 1, abs_tol=1e-9):
            raise UsageError(f"--split {text}: the shares add up to {sum(shares.values()):g}, not to 1")
        return cls(shares, seed)

    def choose(self, key: str) -> str:
        """Return the name of the split for a document with this key."""
        digest = blake2b(f"{self.seed}:{key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
        place = int.from_bytes(digest, "big") / 2**64
        for name, end in zip(self.shares, accumulate(self.shares.values()), strict=True):
            if place < end:
                return name
        return list(self.shares)[-1]


def _parse_states(condition: str, value: str) -> tuple[State, ...]:
    names = [name.strip() for name in value.split(",")]
    if unknown := [name for name in names if name not in _EXPORTABLE]:
        raise UsageError(f"--where {condition}: no text in state {unknown[0]!r}; choose from {', '.join(_EXPORTABLE)}")
    return tuple(_EXPORTABLE[name] for name in names)


def _parse_score(condition: str, value: str) -> float:
    try:
        score = float(value)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise UsageError(f"--where {condition}: a score is a number from 0 to 1")
    return score


def _parse_share(text: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(f"--split {text}: a share is a number above 0 and at most 1")
    return share

"""The limit of an account as far as a run has met it, in numbers and in a person's words."""

import math
from dataclasses import dataclass
from typing import Final

_UNITS_S: Final = (("a second", 1.0), ("a minute", 60.0), ("an hour", 3600.0))
_LEAST_CALLS: Final = 2.0
"""A rate is told in the shortest unit in which it is at least as many calls."""

_MATERIAL_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Learned:
    """The limit that a run has met; without values, none.

    Attributes:
        rate_per_s: Calls per second that the account permits; None when no such limit has been met.
        in_flight: Calls that it permits at once; None when no such limit has been met.
        windows: The windows in which it counts calls: pairs of calls permitted and length in seconds.
    """

    rate_per_s: float | None = None
    in_flight: int | None = None
    windows: tuple[tuple[int, float], ...] = ()

    @property
    def is_known(self) -> bool:
        """True when a limit has been met."""
        return self.rate_per_s is not None or self.in_flight is not None or bool(self.windows)

    def describe(self) -> str:
        """Return the limit in words: "about 60 calls a minute, in windows of 60 s"; "" when none has been met."""
        parts = []
        if self.windows:
            rates = " and ".join(_describe_rate(calls / seconds) for calls, seconds in self.windows)
            lengths = " and ".join(f"{_round(seconds)} s" for _, seconds in self.windows)
            parts.append(f"about {rates}, in windows of {lengths}")
        elif self.rate_per_s is not None:
            parts.append(f"about {_describe_rate(self.rate_per_s)}")
        if self.in_flight is not None:
            parts.append(f"{_count_calls(str(self.in_flight))} at once")
        return ", ".join(parts)

    def differs_from(self, other: "Learned") -> bool:
        """Return whether this is worth telling after the other: another kind of limit, or a fifth more or less."""
        mine, others = _numbers(self), _numbers(other)
        if mine.keys() != others.keys():
            return True
        return any(abs(mine[name] - others[name]) > _MATERIAL_SHARE * others[name] for name in mine)


def describe_refusals(learned: Learned, refused: int, sent: int) -> str:
    """Return what was learned of the limit: "the service allows about 5 calls a second; refused 12 of 600 calls"."""
    allows = f"the service allows {learned.describe()}; " if learned.is_known else ""
    return f"{allows}refused {refused:,} of {sent:,} calls"


def _numbers(learned: Learned) -> dict[str, float]:
    """Return the numbers that `describe` tells, by name."""
    numbers: dict[str, float] = {}
    for number, (calls, seconds) in enumerate(learned.windows):
        numbers |= {f"calls {number}": calls, f"seconds {number}": seconds}
    if learned.rate_per_s is not None and not learned.windows:
        numbers["rate"] = learned.rate_per_s
    if learned.in_flight is not None:
        numbers["in flight"] = learned.in_flight
    return numbers


def _describe_rate(rate_per_s: float) -> str:
    """Return a rate in calls a second, a minute or an hour."""
    unit, seconds = next((one for one in _UNITS_S if rate_per_s * one[1] >= _LEAST_CALLS), _UNITS_S[-1])
    return f"{_count_calls(_round(rate_per_s * seconds))} {unit}"


def _count_calls(number: str) -> str:
    return f"{number} call{'' if number == '1' else 's'}"


def _round(number: float) -> str:
    """Return a number rounded to two digits that count: 5.53 is "5.5", 1,234 is "1,200"."""
    if number <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(number))
    text = f"{round(number, digits):,.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

"""The calls of a run as the pace sees them: when each was sent, and which were not refused."""

from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

_MAX_CALLS: Final = 20_000
"""Send times kept: a window of more calls than this is not recognised."""


class Token(NamedTuple):
    """A call in flight.

    Attributes:
        sent_s: When it was sent.
        serial: Calls sent before it.
        others_in_flight: Other calls in flight when it was sent.
        rate_per_s: The pacing rate when it was sent.
    """

    sent_s: float
    serial: int
    others_in_flight: int
    rate_per_s: float


class Start(NamedTuple):
    """Where a count begins.

    Attributes:
        sent_s: When its first call was sent.
        serial: That call's serial.
    """

    sent_s: float
    serial: int


class CallLog:
    """The send times of the calls that were not refused; one that is in flight counts, because most are answered."""

    def __init__(self) -> None:
        self._serials: list[int] = []
        self._sent_s: list[float] = []

    def add(self, token: Token) -> None:
        """Note a call that is sent."""
        self._serials.append(token.serial)
        self._sent_s.append(token.sent_s)
        if len(self._serials) >= 2 * _MAX_CALLS:
            del self._serials[:_MAX_CALLS]
            del self._sent_s[:_MAX_CALLS]

    def remove(self, token: Token) -> None:
        """Forget a call that was refused."""
        at = self._find(token.serial)
        if at < len(self._serials) and self._serials[at] == token.serial:
            del self._serials[at]
            del self._sent_s[at]

    def count(self, first_serial: int, before: Token | None = None) -> int:
        """Return the calls from this serial on, that of `before` excluded."""
        end = len(self._serials) if before is None else self._find(before.serial)
        return max(0, end - self._find(first_serial))

    def count_sent(self, after_s: float, until_s: float) -> int:
        """Return the calls sent after the one time and not after the other."""
        return max(0, bisect_right(self._sent_s, until_s) - bisect_right(self._sent_s, after_s))

    def last_sent_s(self, most: int, before: Token) -> list[float]:
        """Return when the last calls before this one were sent, at most so many, in their order."""
        end = self._find(before.serial)
        return self._sent_s[max(0, end - most) : end]

    def sent_s(self, back: int, before: Token | None = None) -> float:
        """Return when the call was sent that is `back` >= 1 places from the end, or before a call.

        Raises:
            IndexError: there are fewer calls.
        """
        end = len(self._serials) if before is None else self._find(before.serial)
        if not 1 <= back <= end:
            raise IndexError(f"{back} of {end} calls")
        return self._sent_s[end - back]

    def _find(self, serial: int) -> int:
        return bisect_left(self._serials, serial)

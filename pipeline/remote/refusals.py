"""Refusals since the last success: how long they may last, and how the run ends when they last longer."""

from typing import Final

from pipeline.errors import QuotaExhaustedError, StopError, TemporaryError

_OBEYED_WAITS: Final = 1.5
"""Patience lasts for so many times the longest wait that was asked for: one that is obeyed proves nothing."""


class Refusals:
    """Counts the calls that the service has answered with a text, and those that it has refused.

    Args:
        patience_s: Longest time of refused calls without one success.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since_s: float | None = None
        self._longest_wait_s = 0.0
        """The longest wait that a refusal since the last success has asked for."""
        self._is_limited = False
        """All refusals since the last success said that there were too many calls, and there was one."""
        self.accepted = self.refused = 0

    def __repr__(self) -> str:
        return f"<Refusals {self.refused}, since {self._since_s}>"

    def report_accepted(self) -> None:
        """Report a call that was answered with a text."""
        self.accepted += 1
        self._since_s = None

    def report_refused(self, now_s: float, wait_s: float | None, *, is_limit: bool) -> None:
        """Report a call that was refused for now.

        Args:
            now_s: Now, on any clock.
            wait_s: Seconds that the service asks to wait; None when it does not ask.
            is_limit: It said that there were too many calls (429).

        Raises:
            QuotaExhaustedError: after successes, all calls for longer than `patience_s` were too many.
            TemporaryError: they were refused as long for other reasons, or from the first one on.
        """
        self.refused += 1
        if self._since_s is None:
            self._since_s, self._is_limited, self._longest_wait_s = now_s, self.accepted > 0, 0.0
        self._is_limited = self._is_limited and is_limit
        self._longest_wait_s = max(self._longest_wait_s, wait_s or 0.0)
        patience_s = max(self._patience_s, _OBEYED_WAITS * self._longest_wait_s)
        if (refused_s := now_s - self._since_s) > patience_s:
            raise self._describe(refused_s)

    def _describe(self, refused_s: float) -> StopError:
        message = f"the API has refused calls for {refused_s:.0f} s and answered none"
        if not self._is_limited:
            return TemporaryError(f"{message}; run again later")
        calls = f"{self.accepted:,} call{'s' if self.accepted > 1 else ''}"
        return QuotaExhaustedError(
            f"{message}, after {calls}: as it seems, a limit of a day or longer; run again when it has passed"
        )

"""What the calls of a run have shown so far, of the service and of each page: the verdicts on later replies need it."""

import math
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pipeline.billing import Calendar
from pipeline.errors import TemporaryError
from pipeline.records import PageId
from pipeline.remote.verdict import Accepted, Blocked, Failed, Refused, Situation, Verdict

_MIN_TIMED_REPLIES: Final = 5
"""The fastest of fewer replies may be an outlier, such as the first one of a cold service."""


@dataclass(slots=True)
class PageHistory:
    """What has happened to one page in this run.

    Attributes:
        attempts: Calls that may have reached the service and failed, without those that only probed an outage.
        failed_calls: All calls that may have reached the service and failed.
        blocked: Replies in a row that were not the service's.
        refusals: Refusals.
        overtaken: Refusals after which another page got its text.
        texts: The run's texts at the last refusal.
        first_failed_call: Number of the first call that failed.
        last_failure: Why the last one failed.
    """

    attempts: int = 0
    failed_calls: int = 0
    blocked: int = 0
    refusals: int = 0
    overtaken: int = 0
    texts: int = 0
    first_failed_call: int = 0
    last_failure: str = ""


class RunHistory:
    """What the calls of one run have shown.

    Args:
        is_stalled: Several runs have called without one text: pages may be to blame, and bar the way to others.
        is_retry: The user asked for pages that failed in earlier runs: that is no reason to give them fewer attempts.
    """

    def __init__(self, *, is_retry: bool = False, is_stalled: bool = False) -> None:
        self._is_retry = is_retry
        self._is_stalled = is_stalled
        self.texts = 0
        """Calls that brought a text."""
        self.in_flight = 0
        """Calls on whose replies pages wait."""
        self.last_text_call = 0
        """Number of the latest call that brought a text."""
        self._calls = 0
        self.unreached = 0
        """Calls in a row that did not reach the service."""
        self._blocked: set[PageId] = set()
        """Pages that something before the service answered, since the last text."""
        self._unexplained: dict[bool, dict[PageId, int]] = {False: {}, True: {}}
        """Pages whose calls fail while no later call has brought a text, each with the number of its first failed call;
        by whether the page failed in an earlier run."""
        self._fastest_reply_s = math.inf
        self._active: Counter[PageId] = Counter()
        self.expects_pages = True
        """False once no further page will begin."""
        self.blames_pages = False
        """The run ended because calls fail, and the pages are to blame: no page was left whose calls had not failed."""

    def __repr__(self) -> str:
        return f"<RunHistory {self.texts} texts, {len(self._blocked)} pages blocked>"

    def situation(
        self, page: PageId, history: PageHistory, *, calls_left: int | None, now: datetime, calendar: Calendar
    ) -> Situation:
        """Return what is known when a reply to this page arrives."""
        return Situation(
            now=now,
            has_succeeded=self.texts > 0,
            calls_left=calls_left,
            pages_blocked=len(self._blocked | {page}) if self._shows_block(history) else 1,
            replies_blocked=history.blocked + 1,
            refusals=history.refusals,
            refusals_overtaken=history.overtaken,
            others_in_flight=self.in_flight,
            fastest_reply_s=self._fastest_reply_s if self.texts >= _MIN_TIMED_REPLIES else None,
            calendar=calendar,
        )

    @property
    def has_others(self) -> bool:
        """True while there are pages whose calls have not failed: a call for them would tell who is to blame."""
        return self.expects_pages or any(
            page not in self._unexplained[False] and page not in self._unexplained[True] for page in self._active
        )

    @contextmanager
    def page(self, page: PageId) -> Generator[PageHistory]:
        """Yield the history of a page that is being recognised."""
        self._active[page] += 1
        try:
            yield PageHistory()
        finally:
            self._active -= Counter([page])

    @contextmanager
    def call(self) -> Generator[int]:
        """Count a call in flight during the context; yield its number in the order of sending, from 1."""
        self._calls += 1
        self.in_flight += 1
        try:
            yield self._calls
        finally:
            self.in_flight -= 1

    def count(self, verdict: Verdict, page: PageId, history: PageHistory, *, call: int, elapsed_s: float) -> None:
        """Count a call that has ended.

        Args:
            verdict: Its verdict.
            page: Its page.
            history: Of its page.
            call: Its number.
            elapsed_s: From the start of the call to its end.
        """
        self.unreached = self.unreached + 1 if isinstance(verdict, Failed) and not verdict.reached else 0
        match verdict:
            case Accepted():
                self.texts += 1
                self.last_text_call = max(self.last_text_call, call)
                self._explain(call)
                self._blocked.clear()
                self._fastest_reply_s = min(self._fastest_reply_s, elapsed_s)
            case Refused():
                history.overtaken += history.refusals > 0 and self.texts > history.texts
                history.refusals, history.texts = history.refusals + 1, self.texts
            case Blocked() if self._shows_block(history):
                self._blocked.add(page)
            case Failed(reached=True, reason=reason):
                history.failed_calls += 1
                history.last_failure = reason
                history.first_failed_call = history.first_failed_call or call
            case _:
                pass
        history.blocked = history.blocked + 1 if isinstance(verdict, Blocked) else 0

    @contextmanager
    def note_end(self) -> Generator[None]:
        """Note whether the run ends without a page that could tell whether the service or the others are to blame."""
        try:
            yield
        except TemporaryError:
            self.blames_pages = self._is_stalled or (self.texts > 0 and not self.has_others)
            raise

    def is_to_blame(self, history: PageHistory) -> bool:
        """Return whether the page fails, not the service: a call after the page's first failed one brought a text."""
        return self.last_text_call > history.first_failed_call > 0

    def count_attempt(
        self, page: PageId, history: PageHistory, *, retries: int, is_probing: bool, failed_before: bool
    ) -> bool:
        """Count a failed attempt of a page; return whether it was the last one.

        While nothing else succeeds, calls probe an outage. Of several pages that fail then, those that are new are not
        blamed while there are others: their calls cost them no attempt, unless no page is to be sent twice. Those that
        failed in an earlier run, too, are: one call each is enough.

        Args:
            page: The page.
            history: Its history.
            retries: Attempts after the first one; 0 sends no page twice.
            is_probing: Calls go out one at a time, because none has succeeded yet or the service fails.
            failed_before: The page failed in an earlier run, too.
        """
        is_one_of_several = False
        if not self.is_to_blame(history):
            alike = self._unexplained[failed_before]
            alike.setdefault(page, history.first_failed_call)
            is_one_of_several = len(alike) > 1
        is_probe = is_probing and is_one_of_several and (failed_before or self.has_others)
        history.attempts += not is_probe or failed_before or retries == 0
        return history.attempts > (0 if is_probe and failed_before and not self._is_retry else retries)

    def _explain(self, text_call: int) -> None:
        """Forget the pages that failed before a call that brought a text: each is to blame for itself."""
        for kind, pages in self._unexplained.items():
            if pages:
                self._unexplained[kind] = {page: call for page, call in pages.items() if call > text_call}

    def _shows_block(self, history: PageHistory) -> bool:
        """Return whether one more foreign reply to a page is evidence that no page gets through.

        Once the service has answered, the first one to a page is none: replies of firewalls overtake those of services.
        """
        return self.texts == 0 or history.blocked > 0

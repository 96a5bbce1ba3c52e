"""What the calls of a run have shown: which page is to blame, and what counts as an attempt."""

from datetime import UTC, datetime

import pytest

from pipeline.batch.history import PageHistory, RunHistory
from pipeline.billing import Calendar
from pipeline.records import PageId
from pipeline.remote.verdict import Accepted, Blocked, Failed, Refused, Verdict
from pipeline.wire import WireReply

NOW = datetime(2026, 1, 31, tzinfo=UTC)
TEXT = Accepted(WireReply("i", "text", 1))
BROKEN = Failed(billed=True, reason="HTTP 500")
UNREACHED = Failed(billed=False, reason="refused", reached=False)
FOREIGN = Blocked("HTTP 451")


class Run:
    """A run's history, and the histories of its pages by name."""

    def __init__(self) -> None:
        self.history = RunHistory()
        self.pages: dict[str, PageHistory] = {}

    def call(self, name: str, verdict: Verdict, *, elapsed_s: float = 1.0) -> PageHistory:
        """Make one call for a page, which ends before the next one is sent."""
        with self.history.call() as number:
            return self.end(name, verdict, number, elapsed_s=elapsed_s)

    def end(self, name: str, verdict: Verdict, number: int, *, elapsed_s: float = 1.0) -> PageHistory:
        """End a call for a page."""
        page = self.pages.setdefault(name, PageHistory())
        self.history.count(verdict, PageId(name), page, call=number, elapsed_s=elapsed_s)
        return page

    def fail(self, name: str, *, retries: int = 2, is_probing: bool = False, failed_before: bool = False) -> bool:
        """Make one call for a page that fails; return whether it was the last one."""
        page = self.call(name, BROKEN)
        return self.history.count_attempt(
            PageId(name), page, retries=retries, is_probing=is_probing, failed_before=failed_before
        )


class TestBlame:
    def test_a_page_is_to_blame_once_a_later_call_brings_a_text(self) -> None:
        run = Run()
        page = run.call("a", BROKEN)
        assert not run.history.is_to_blame(page)
        run.call("b", TEXT)
        assert run.history.is_to_blame(page)

    def test_a_text_of_an_older_call_blames_no_page(self) -> None:
        """Slow replies of a service that has just failed still arrive."""
        run = Run()
        with run.history.call() as older, run.history.call() as newer:
            page = run.end("a", BROKEN, newer)
            run.end("b", TEXT, older)
        assert not run.history.is_to_blame(page)

    def test_a_page_that_has_not_failed_is_not_to_blame(self) -> None:
        run = Run()
        page = run.call("a", Refused(None, "HTTP 429"))
        run.call("b", TEXT)
        assert not run.history.is_to_blame(page)


class TestAttempts:
    def test_a_page_alone_has_its_attempts_and_no_more(self) -> None:
        run = Run()
        assert [run.fail("a", is_probing=True) for _ in range(3)] == [False, False, True]

    def test_probes_of_an_outage_cost_new_pages_no_attempt(self) -> None:
        run = Run()
        assert not any(run.fail(name, is_probing=True) for name in "ab" * 20)
        assert (run.pages["a"].attempts, run.pages["b"].attempts) == (1, 0)
        assert run.pages["b"].failed_calls == 20

    def test_without_retries_no_page_is_sent_twice(self) -> None:
        run = Run()
        assert all(run.fail(name, is_probing=True, retries=0) for name in "abc")

    def test_several_pages_that_failed_in_an_earlier_run_have_one_call_each(self) -> None:
        run = Run()
        ends = [run.fail(name, is_probing=True, failed_before=True) for name in "abcda"]
        assert ends == [False, True, True, True, True]

    def test_on_request_they_have_all_of_their_attempts(self) -> None:
        """In a run of `retry`."""
        run = Run()
        run.history = RunHistory(is_retry=True)
        ends = [run.fail(name, is_probing=True, failed_before=True) for name in "ababab"]
        assert ends == [False, False, False, False, True, True]

    def test_a_page_that_is_to_blame_spends_its_attempts_in_an_outage_too(self) -> None:
        run = Run()
        assert not run.fail("a")
        run.call("b", TEXT)
        assert not run.fail("c", is_probing=True)
        assert [run.fail("a", is_probing=True) for _ in range(2)] == [False, True]

    def test_after_a_text_single_failures_are_single_again(self) -> None:
        run = Run()
        run.fail("a", is_probing=True)
        run.fail("b", is_probing=True)
        run.call("c", TEXT)
        assert not run.fail("d", is_probing=True)
        assert run.pages["d"].attempts == 1


class TestSituation:
    def situation(self, run: Run, name: str) -> tuple[int, int]:
        """Return how many pages, and how many replies to this page, are blocked with one more foreign reply."""
        page = run.pages.setdefault(name, PageHistory())
        known = run.history.situation(PageId(name), page, calls_left=None, now=NOW, calendar=Calendar())
        return known.pages_blocked, known.replies_blocked

    def test_before_the_first_text_each_blocked_page_counts(self) -> None:
        run = Run()
        seen = []
        for name in "abc":
            seen.append(self.situation(run, name))
            run.call(name, FOREIGN)
        assert seen == [(1, 1), (2, 1), (3, 1)]

    def test_later_a_page_counts_from_its_second_foreign_reply(self) -> None:
        """The replies of a firewall overtake those of the service."""
        run = Run()
        run.call("z", TEXT)
        seen = []
        for name in "abcabc":
            seen.append(self.situation(run, name))
            run.call(name, FOREIGN)
        assert seen == [(1, 1), (1, 1), (1, 1), (1, 2), (2, 2), (3, 2)]

    def test_a_text_ends_the_row(self) -> None:
        run = Run()
        for name in "ab":
            run.call(name, FOREIGN)
        run.call("z", TEXT)
        assert self.situation(run, "c") == (1, 1)

    def test_refusals_are_counted_and_those_that_another_page_overtook(self) -> None:
        run = Run()
        for name in ("a", "z", "a", "a", "z", "z", "a"):
            run.call(name, TEXT if name == "z" else Refused(None, "HTTP 503"))
        known = run.history.situation(PageId("a"), run.pages["a"], calls_left=5, now=NOW, calendar=Calendar())
        assert (known.refusals, known.refusals_overtaken, known.calls_left) == (4, 2, 5)

    @pytest.mark.parametrize(("texts", "fastest_s"), [(4, None), (5, 0.25)])
    def test_the_fastest_reply_is_known_from_five_on(self, texts: int, fastest_s: float | None) -> None:
        run = Run()
        for number in range(texts):
            run.call(f"p{number}", TEXT, elapsed_s=1.0 if number else 0.25)
        known = run.history.situation(PageId("a"), PageHistory(), calls_left=None, now=NOW, calendar=Calendar())
        assert known.fastest_reply_s == fastest_s

    def test_calls_in_a_row_that_reach_nothing_are_counted(self) -> None:
        run = Run()
        for verdict, expected in ((UNREACHED, 1), (UNREACHED, 2), (BROKEN, 0), (UNREACHED, 1), (TEXT, 0)):
            run.call("a", verdict)
            assert run.history.unreached == expected

    def test_its_repr_counts(self) -> None:
        run = Run()
        run.call("a", TEXT)
        assert repr(run.history) == "<RunHistory 1 texts, 0 pages blocked>"

"""The numbers of an overview: what stands now, each page once, and bad lines and ledgers survive."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from pipeline.billing import Calendar
from pipeline.config import BudgetConfig
from pipeline.records import Failure, Record, State
from pipeline.report.overview import OTHER_CLASSES, UNREADABLE, FailureClass, Overview, Scores, collect_overview
from pipeline.report.overview_html import render_overview
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import MeteredRun, RunFile
from tests.corrections import correct
from tests.factories import DOUBT, QUALITY, make_failure, make_record
from tests.report.workspaces import WORKSPACE_ID, YEAR_BEGIN, write_lines, write_year, year_record

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RUN = RunFile(workspace_id=WORKSPACE_ID, version="0", service="vendor")


def overview_of(
    directory: Path, records: Sequence[Record], failures: Sequence[Failure] = (), run: RunFile = RUN
) -> Overview:
    return collect_overview(write_lines(directory, iter(records), iter(failures), run), run, BudgetConfig(), NOW)


def test_an_empty_workspace_has_an_overview(tmp_path: Path) -> None:
    overview = overview_of(tmp_path / "out", [])
    assert sum(overview.pages.values()) == 0
    assert (overview.days, overview.rates, overview.failures, overview.scores) == ({}, (), (), None)
    assert (overview.lengths, overview.months, overview.ledger_problem) == ({}, (), None)


def test_each_page_counts_once_by_its_last_record(tmp_path: Path) -> None:
    first, again = make_record("a.png", 1, text="x" * 30), make_record("a.png", 2, text="x" * 300)
    copy = make_record("b.png", 2, duplicate_of="a.png", text="x" * 300)
    later = replace(again, added="2026-01-03T09:00:00.000000Z")
    overview = overview_of(tmp_path / "out", [first, later, replace(copy, attempts=())])
    assert {state: number for state, number in overview.pages.items() if number} == {State.DONE: 1, State.DUPLICATE: 1}
    begin = date(2026, 1, 1).toordinal() - 1
    assert overview.days == {begin: {State.DUPLICATE: 1}, begin + 2: {State.DONE: 1}}
    assert sum(rate.pages for rate in overview.rates) == 2
    assert sum(rate.median_ms is not None for rate in overview.rates) == 1  # the copy took no call
    assert sum(overview.lengths.values()) == 2


def test_a_reviewed_page_counts_when_it_was_read(tmp_path: Path) -> None:
    """A night of corrections is no night of pages; a page that had failed has its first text on that day."""
    records = [make_record(f"{name}.png", number) for number, name in enumerate("abc")]
    workspace = write_lines(tmp_path / "out", iter(records), iter([make_failure("d.png", 4)]), RUN)
    before = collect_overview(workspace, RUN, BudgetConfig(), NOW)
    checked = ({"source": f"{name}.png", "page": 1, "checked": True} for name in "bc")
    correct(workspace, {"source": "a.png", "page": 1, "text": "by a person"}, *checked)
    overview = collect_overview(workspace, RUN, BudgetConfig(), NOW)
    assert (overview.corrected, overview.checked, overview.days) == (1, 2, before.days)
    assert [rate.pages for rate in overview.rates] == [3]
    assert [rate.median_ms for rate in overview.rates] == [rate.median_ms for rate in before.rates]
    html = render_overview(overview)
    assert [html.count(f">{name}<") for name in ("corrected", "checked")] == [1, 1]
    assert ">corrected<" not in render_overview(before)
    correct(workspace, {"source": "d.png", "page": 1, "text": "by hand"})
    transcribed = collect_overview(workspace, RUN, BudgetConfig(), NOW)
    assert (transcribed.corrected, transcribed.failures, len(transcribed.days)) == (2, (), 2)


def test_failures_are_those_that_stand(tmp_path: Path) -> None:
    failures = [
        make_failure("a.png", 1, error="attempts-exhausted", retryable=True),
        make_failure("b.png", 2, error="rejected"),
        make_failure("c.png", 3, error="attempts-exhausted", retryable=True),
        make_failure("d.png", 4, error="attempts-exhausted"),
    ]
    overview = overview_of(tmp_path / "out", [make_record("a.png", 1, added=9)], failures)  # a.png was retried well
    assert overview.failures == (FailureClass("attempts-exhausted", 2, 1), FailureClass("rejected", 1, 1))
    assert sum(sum(states.values()) for states in overview.days.values()) == 4


def test_classes_of_failures_are_bounded(tmp_path: Path) -> None:
    failures = [make_failure(f"{number}.png", number, error=f"class {number}") for number in range(150)]
    overview = overview_of(tmp_path / "out", [], failures)
    assert len(overview.failures) == 101
    assert overview.failures[0] == FailureClass(OTHER_CLASSES, 50, 50)


def test_scores_have_the_threshold_and_the_pages_in_doubt(tmp_path: Path) -> None:
    scores = [QUALITY, DOUBT, replace(QUALITY, score=1.0), replace(QUALITY, score=0.15, threshold=0.9)]
    records = [make_record(f"{number}.png", number, quality=quality) for number, quality in enumerate(scores)]
    overview = overview_of(tmp_path / "out", records)
    bins = Counter({17: 1, 4: 1, 19: 1, 3: 1})
    assert overview.scores == Scores(tuple(bins[number] for number in range(20)), 0.5, 2)


def test_a_line_that_was_changed_or_has_no_time_is_counted_as_such(tmp_path: Path) -> None:
    records = [make_record("a.png", 1), replace(make_record("b.png", 2), added="once"), make_record("c.png", 3)]
    overview = overview_of(tmp_path / "out", records, [make_failure("d.png", 4)])
    assert overview.undated == 1
    assert sum(rate.pages for rate in overview.rates) == 2
    results, failures = tmp_path / "out" / "results.jsonl", tmp_path / "out" / "failures.jsonl"
    write_lines(tmp_path / "out", iter(records), iter([make_failure("d.png", 4)]), RUN)
    assert overview.pages[State.FAILED] == 1
    results.write_bytes(results.read_bytes().replace(b"text 3", b"tixt 3"))
    failures.write_bytes(failures.read_bytes().replace(b"why", b"who"))
    damaged = collect_overview(tmp_path / "out", RUN, BudgetConfig(), NOW)
    assert (damaged.pages[State.DONE], damaged.pages[State.FAILED], damaged.failures) == (2, 0, ())


def test_failed_pages_without_a_readable_line_are_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.workspace.worklist.parse_whole_failure", lambda _: (_ for _ in ()).throw(OSError()))
    overview = overview_of(tmp_path / "out", [], [make_failure("d.png", 4)])
    assert overview.failures == (FailureClass(UNREADABLE, 1, 0),)


def test_calls_are_those_of_the_last_runs_ledger(tmp_path: Path) -> None:
    workspace = write_year(tmp_path, nights=365, per_night=4)
    run = run_of(workspace)
    overview = collect_overview(workspace, run, BudgetConfig(quota=1500), NOW)
    assert (overview.quota, overview.calendar, overview.taken) == (1500, Calendar(), NOW.replace(tzinfo=None))
    assert [month.month for month in overview.months][::11] == ["2025-12", "2026-11"]
    assert [bool(month.days) for month in overview.months] == [False] * 9 + [True] * 3
    latest = overview.months[-1]
    assert 0 < latest.here < latest.total == sum(latest.days.values())


def run_of(workspace: Path) -> RunFile:
    return msgspec.json.decode((workspace / "run.json").read_bytes(), type=RunFile)


@pytest.mark.parametrize("service", ["vendor", "embedded"])
def test_a_ledger_that_cannot_be_read_is_a_sentence(tmp_path: Path, service: str) -> None:
    """A ledger of another service than the workspace's now is not asked."""
    (tmp_path / "ledger").write_bytes(b"no ledger" * 1000)
    run = msgspec.structs.replace(
        RUN, service=service, metered=MeteredRun(service="vendor", ledger=str(tmp_path / "ledger"), key="k")
    )
    overview = overview_of(tmp_path / "out", [], run=run)
    assert overview.months == ()
    assert (overview.ledger_problem is not None) == (service == "vendor")


def test_memory_does_not_grow_with_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.workspace.finished_pages._BATCH", 64)
    peaks = []
    for number in (1_000, 4_000):
        chance = Random(1)
        records = (year_record(chance, n, YEAR_BEGIN + timedelta(days=n % 300), 0) for n in range(number))
        workspace = write_lines(tmp_path / str(number), records, iter(()), RUN)
        Index.open(workspace).close()
        tracemalloc.start()
        collect_overview(workspace, RUN, BudgetConfig(), NOW)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]

"""What `status` says of a workspace: its pages, the month, the finish, and what is in the way."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.batch.planning.forecast import forecast
from pipeline.billing import Calendar, Usage
from pipeline.cli.status_text import Standing, describe_status, find_obstacles, status_fields
from pipeline.records import State
from pipeline.workspace.live_progress import LiveProgress
from pipeline.workspace.page_counts import PageCounts
from pipeline.workspace.run_file import Again, RunFile

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
RESETS = datetime(2026, 12, 1, tzinfo=UTC)
RUN = RunFile(
    workspace_id="a",
    version="0.3.0",
    service="vendor",
    root="/srv/scans",
    started="2026-11-29T02:00:00.000000Z",
    finished="2026-11-29T02:10:00.000000Z",
    exit_code=0,
    files={"new": 12, "changed": 3, "unmodified": 2528, "gone": 4},
    ignored={".docx": 30},
)
LIVE = LiveProgress(
    run_id="r",
    updated="2026-11-29T20:00:00.000000Z",
    elapsed_s=100.0,
    pages={"done": 118, "failed": 2},
    in_flight=8,
    calls=120,
    calls_left=880,
    sent=120,
    refused=0,
    paused_s=0.0,
)


def make_standing(
    counts: dict[State, int] | None = None, left: int = 0, unreadable: int = 0, **changes: Any
) -> Standing:
    totals = dict.fromkeys(State, 0) | {State.DONE: 2540} | (counts or {})
    return replace(Standing(Path("paid"), RUN, PageCounts(totals, 7, left, unreadable)), **changes)


def with_month(standing: Standing, used: int) -> Standing:
    expected = forecast(standing.calls_to_make, 1000, used, now=NOW, calendar=Calendar())
    usage = Usage("2026-11", used, 0, 0, 1000)
    return replace(standing, usage=usage, resets=RESETS, forecast=expected)


def test_a_finished_workspace_is_told_in_lines_and_nothing_is_in_the_way() -> None:
    assert describe_status(with_month(make_standing(), 120)).splitlines() == [
        "pages          2,540",
        "done           2,540",
        "duplicate          0",
        "skipped            0",
        "failed             0",
        "uncertain          0",
        "pending            0",
        "in doubt           7",
        "files      12 new, 3 changed, 2,528 unmodified, 4 gone",
        "ignored    30 .docx",
        "service    vendor",
        "last run   2026-11-29T02:10:00.000000Z, exit 0",
        "calls      120 in 2026-11, 880 left until 2026-12-01",
    ]


def test_a_run_that_is_under_way_is_shown_with_its_counters() -> None:
    run = msgspec.structs.replace(RUN, finished=None, exit_code=None)
    standing = make_standing(run_file=run, live=LIVE)
    assert (
        "run        under way since 2026-11-29T02:00:00.000000Z: 118 done, 2 failed, 1.2 pages/s, 120 calls"
        in describe_status(standing).splitlines()
    )
    assert find_obstacles(standing) == []
    assert status_fields(standing)["under_way"]["calls"] == 120


def test_the_finish_counts_failed_pages_that_are_sent_again() -> None:
    standing = make_standing({State.PENDING: 1990, State.FAILED: 15}, left=5)
    assert standing.calls_to_make == 2000
    lines = describe_status(with_month(standing, 400)).splitlines()
    assert "finish     2027-01-01 at the earliest: 2,000 calls, in 3 months" in lines


def test_the_finish_says_that_more_may_be_pending() -> None:
    run = msgspec.structs.replace(RUN, pending_is_at_least=True)
    lines = describe_status(with_month(make_standing({State.PENDING: 100}, run_file=run), 0)).splitlines()
    assert "pending    at least 100" in lines
    assert "finish     2026-11-29 at the earliest: at least 100 calls, in 1 month" in lines


@pytest.mark.parametrize(
    ("standing", "obstacles"),
    [
        pytest.param(make_standing(), [], id="nothing"),
        pytest.param(
            make_standing(run_file=msgspec.structs.replace(RUN, finished=None, exit_code=None)),
            ["the last run was killed, or is just beginning; another run recovers what it left"],
            id="killed",
        ),
        pytest.param(
            make_standing(run_file=msgspec.structs.replace(RUN, exit_code=7, reason="the key was\nrejected")),
            [r"the last run stopped: the key was\nrejected (exit 7)"],
            id="the-key-was-rejected",
        ),
        pytest.param(
            make_standing(run_file=msgspec.structs.replace(RUN, exit_code=5)),
            [("the last run stopped: temporary: the API is unreachable, fails or refuses every call; run again later "
             "(exit 5)")],
            id="an-earlier-release-noted-no-reason",
        ),
        pytest.param(
            make_standing(run_file=msgspec.structs.replace(RUN, exit_code=10, reason="--max-calls 5 is reached")),
            [],
            id="a-planned-stop",
        ),
        pytest.param(
            with_month(make_standing({State.PENDING: 3}), 1000),
            ["the month's calls are used up until 2026-12-01 00:00 UTC"],
            id="the-month-is-used-up",
        ),
        pytest.param(with_month(make_standing(), 1000), [], id="the-month-is-used-up-and-nothing-is-left"),
        pytest.param(
            with_month(
                make_standing(
                    {State.PENDING: 3},
                    run_file=msgspec.structs.replace(RUN, exit_code=8, reason="the service says: quota"),
                ),
                10,
            ),
            ["the last run stopped: the service says: quota"],
            id="the-service-disagrees-with-the-ledger",
        ),
        pytest.param(
            make_standing({State.FAILED: 12}, left=12),
            ["12 pages are failed and left to: pagemill retry paid"],
            id="left-to-retry",
        ),
        pytest.param(
            make_standing(unreadable=2),
            ["2 lines of the records cannot be read: pagemill verify paid"],
            id="unreadable-lines",
        ),
        pytest.param(
            make_standing({State.FAILED: 1}, left=1),
            ["1 page is failed and left to: pagemill retry paid"],
            id="one-left-to-retry",
        ),
        pytest.param(
            make_standing({State.UNCERTAIN: 2}),
            ["2 pages are uncertain: a call may have been billed; a run without --at-most-once sends again"],
            id="uncertain",
        ),
        pytest.param(
            make_standing(is_root_missing=True), ["/srv/scans: not there; is a disk not mounted?"], id="unmounted"
        ),
        pytest.param(
            make_standing(other_service="127.0.0.1"),
            [("a run started here would call '127.0.0.1', not 'vendor'; check the address and the key, or use "
             "--switch-service")],
            id="another-service",
        ),
        pytest.param(
            make_standing(problem="ledger x: file is not a database"),
            ["ledger x: file is not a database"],
            id="a-damaged-ledger",
        ),
        pytest.param(
            make_standing(run_file=msgspec.structs.replace(RUN, again=Again("*.tif", "2026-11-29"))),
            ["--again *.tif is not finished; a run with it goes on"],
            id="again",
        ),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_a_sentence_each(standing: Standing, obstacles: list[str]) -> None:
    assert find_obstacles(standing) == obstacles
    assert status_fields(standing)["obstacles"] == obstacles
    shown = [line for line in describe_status(standing).splitlines() if line.startswith("in the way")]
    assert shown == [f"in the way  {text}" for text in obstacles]

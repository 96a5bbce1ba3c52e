"""The worklist: what failed and stands, in how many runs, and whether the next run tries it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.records import MAX_FAILED_RUNS, Failure, Record
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.index import Index
from pipeline.workspace.paths import FAILURES, INDEX, RESULTS
from pipeline.workspace.read_position import Span
from pipeline.workspace.result_lines import encode_record
from tests.factories import make_failure, make_record, moment, on_disk, page_id

EXHAUSTED = "attempts-exhausted"


class Workspace:
    """A workspace whose lines are appended and added to the index together, as in a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = Index.open(path)

    def fail(self, failure: Failure) -> None:
        """Append a failure's line and add it to the index."""
        self.index.add_failure(failure, append(self.path / FAILURES, encode_failure(failure)))

    def record(self, record: Record) -> None:
        """Append a record's line and add it to the index."""
        self.index.add_record(record, append(self.path / RESULTS, encode_record(record)))

    def rebuild(self) -> None:
        """Lose the index, and make it again from the lines."""
        self.index.close()
        (self.path / INDEX).unlink()
        self.index = Index.open(self.path)

    def listed(self) -> list[tuple[str, int, str, bool]]:
        """Return name, page, class and whether the next run tries it, of each page on the worklist."""
        pages = self.index.worklist()
        return [(page.failure.source, page.failure.page, page.failure.error, page.retryable) for page in pages]

    def runs(self, name: str, content: int, *, before: str | None = None) -> int:
        """Return the number of runs in which a page has failed."""
        return self.index.count_failed_runs(name, 1, page_id(content), before=before)


def append(path: Path, line: bytes) -> Span:
    """Append a line as the sink does; return its place."""
    with path.open("ab") as file:
        start = file.tell()
        file.write(line)
    return Span(start, start + len(line))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    opened = Workspace(tmp_path)
    yield opened
    opened.index.close()


def exhausted(name: str, content: int, added: int, *, runs: int = 0) -> Failure:
    """Return a failure that costs calls; without `runs`, as release 0.2 wrote it."""
    return replace(make_failure(name, content, error=EXHAUSTED, retryable=True, added=added), runs=runs)


@pytest.mark.parametrize("rebuilds", [False, True])
def test_the_worklist_has_what_stands_in_the_order_of_names(workspace: Workspace, *, rebuilds: bool) -> None:
    """A page that got a text since then is not on it."""
    for name, content, added in (("c.png", 3, 1), ("a.png", 1, 2), ("b\udcff.png", 2, 3)):
        workspace.fail(make_failure(name, content, added=added))
    workspace.record(make_record("c.png", 3, added=4))
    workspace.record(make_record("d.png", 4, added=5))
    if rebuilds:
        workspace.rebuild()
    assert workspace.listed() == [("a.png", 1, "rejected", False), ("b\udcff.png", 1, "rejected", False)]


def test_a_long_worklist_is_read_whole(workspace: Workspace) -> None:
    for number in range(700):
        workspace.fail(make_failure(f"{number:04}.png", number))
    assert [name for name, *_ in workspace.listed()] == [f"{number:04}.png" for number in range(700)]


def test_a_page_whose_line_is_damaged_is_left_out(workspace: Workspace) -> None:
    workspace.fail(make_failure("a.png", 1))
    workspace.fail(make_failure("b.png", 2))
    path = workspace.path / FAILURES
    path.write_bytes(path.read_bytes().replace(b"a.png", b"x.png"))
    assert [name for name, *_ in workspace.listed()] == ["b.png"]


@pytest.mark.parametrize(
    ("written", "rebuilds"),
    [
        pytest.param(True, False, id="this-release"),
        pytest.param(True, True, id="this-release-rebuilt"),
        pytest.param(False, True, id="release-0.2"),
    ],
)
def test_after_three_runs_a_page_is_left_to_retry(workspace: Workspace, *, written: bool, rebuilds: bool) -> None:
    """Lines of release 0.2 do not say in how many runs the page has failed."""
    for run in range(1, MAX_FAILED_RUNS + 1):
        failure = exhausted("a.png", 1, run, runs=run if written else 0)
        workspace.fail(replace(failure, retryable=run < MAX_FAILED_RUNS) if written else failure)
        if rebuilds:
            workspace.rebuild()
        assert workspace.runs("a.png", 1) == run
        assert workspace.listed() == [("a.png", 1, EXHAUSTED, run < MAX_FAILED_RUNS)]
        file = on_disk("a.png")
        workspace.index.add_file(file, 1)
        assert (workspace.index.settled_states(file) is None) == (run < MAX_FAILED_RUNS)


def test_a_text_or_another_content_begins_the_count_anew(workspace: Workspace) -> None:
    workspace.fail(exhausted("a.png", 1, 1, runs=1))
    workspace.fail(exhausted("a.png", 1, 2, runs=2))
    assert workspace.runs("a.png", 2) == 0
    workspace.record(make_record("a.png", 1, added=3))
    assert workspace.runs("a.png", 1) == 0


def test_a_failure_that_costs_no_calls_does_not_count(workspace: Workspace) -> None:
    for added in range(5):
        workspace.fail(make_failure("a.png", 1, error="unreadable", retryable=True, added=added))
        workspace.rebuild()
    assert workspace.runs("a.png", 1) == 0
    assert workspace.listed() == [("a.png", 1, "unreadable", True)]


def test_two_failures_in_one_run_count_once(workspace: Workspace) -> None:
    """As of a manifest that names a page twice."""
    workspace.fail(exhausted("a.png", 1, 1, runs=1))
    begun = moment(2)
    assert workspace.runs("a.png", 1, before=begun) == 1
    workspace.fail(exhausted("a.png", 1, 3, runs=2))
    assert workspace.runs("a.png", 1, before=begun) == 1


def test_an_index_of_release_0_2_is_made_anew(workspace: Workspace) -> None:
    workspace.fail(exhausted("a.png", 1, 1))
    workspace.index.commit()
    workspace.index._db.rows("PRAGMA user_version = 2")
    workspace.index.close()
    workspace.index = Index.open(workspace.path)
    assert workspace.listed() == [("a.png", 1, EXHAUSTED, True)]

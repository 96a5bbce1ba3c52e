"""What `verify` finds in a workspace that a real run made, when one fault at a time is planted in it or its ledger."""

import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import run

import orjson
import pytest

from pipeline.cli.inspect import show_status, verify_workspace
from pipeline.records import SourceFile
from pipeline.workspace.index import INDEX, Index
from pipeline.workspace.lines import seal
from pipeline.workspace.tables import FAILURES, RESULTS
from tests.faults.planted import Planted, make_workspace, only_readable, resealed
from tests.runs import COMMAND, environment, results

A, B, COPY, LATIN = "scans/page-0001.png", "scans/page-0002.png", "scans/z-copy.png", "scans/z-cafe.png"
ORIGINAL, CHANGED, URL = "scans/page-0003.png", "scans/page-0005.png", "https://example.org/scan.png"
EMPTY, TEXT, FLAKY = "scans/empty.png", "scans/text.jpg", "scans/flaky.png"
NOBODY = f"sha256:{'0' * 64}#1"

Plant = Callable[[Planted], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """One real workspace for all tests of this module, which copy it."""
    return make_workspace(tmp_path_factory.mktemp("made"))


@pytest.fixture
def planted(made: Planted, tmp_path: Path) -> Planted:
    """A copy of it to do harm to."""
    return made.copy_to(tmp_path / "copy")


def verify(planted: Planted, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit code and the faults; they must be told without a byte being changed."""
    before = planted.snapshot()
    code = verify_workspace(planted.workspace)
    assert planted.snapshot() == before
    return code, capsys.readouterr().out.splitlines()


class TestSound:
    """What is no fault."""

    def test_pages_of_every_fate_are_there(self, made: Planted) -> None:
        """The workspace of these tests holds what it is meant to hold."""
        run_file = orjson.loads((made.workspace / "run.json").read_bytes())
        expected = {"done": 18, "duplicate": 2, "skipped": 0, "failed": 3, "uncertain": 1, "pending": 1}
        assert run_file["totals"] == expected
        by_source: dict[str, list[str | None]] = {}
        for line in results(made.workspace):
            by_source.setdefault(line["source"], []).append(line["duplicate_of"])
        assert by_source[CHANGED] == [None, None]
        assert by_source["scans/page-0006.png"] == [None, None, "scans/page-0006.png"]
        assert by_source[LATIN] == ["scans/caf\ufffd.png"]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda _: None, id="as-it-is"),
            pytest.param(lambda p: (p.workspace / INDEX).unlink(), id="no-index"),
            pytest.param(
                lambda p: shutil.copyfile(p.root / "former-index.sqlite3", p.workspace / INDEX), id="an-earlier-index"
            ),
            pytest.param(lambda p: (p.workspace / ".lock").unlink(), id="copied-without-hidden-files"),
            pytest.param(
                lambda p: (p.workspace / f"{RESULTS}.broken-20260101T000000000000").write_bytes(b'{"id'),
                id="evidence-of-a-torn-line",
            ),
            pytest.param(lambda p: p.change_run_file(finished=None, totals={}), id="killed"),
        ],
    )
    def test_a_workspace_without_a_fault_is_exit_0(
        self, planted: Planted, change: Plant, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Negative control of all that follows."""
        change(planted)
        assert verify(planted, capsys) == (0, [])

    def test_an_index_whose_commit_a_kill_cut_off_is_no_fault(
        self, planted: Planted, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its journal belongs to it: half a commit is undone in the copy, and stays where it is in the workspace."""
        path = planted.workspace / INDEX
        names = (path, path.with_name(f"{INDEX}-journal"))
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA cache_size = 1")  # so that half of it is in the file already
            db.execute("DELETE FROM page")
            db.execute("INSERT INTO page SELECT id, 1, 'done', 0, randomblob(3000), '' FROM content")
            torn = [name.read_bytes() for name in names]
        assert torn[0] != path.read_bytes()
        for name, content in zip(names, torn, strict=True):
            name.write_bytes(content)
        assert verify(planted, capsys) == (0, [])

    def test_a_killed_runs_open_calls_are_no_fault(
        self, planted: Planted, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A text whose call was not settled before the kill is told of; the next run settles it."""
        caplog.set_level(logging.INFO)
        planted.change_ledger("UPDATE attempt SET state = 'pending' WHERE id = ?", planted.attempt(A))
        planted.change_run_file(finished=None)
        assert verify(planted, capsys) == (0, [])
        assert "1 calls of the last run as under way" in caplog.text

    def test_a_call_without_a_line_is_told_of_and_no_fault(
        self, planted: Planted, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """It may have failed in a run that ended before the page did: nothing is said that may be false."""
        call = planted.attempt(A)
        insert = (
            "INSERT INTO attempt (id, page, source, month, state, workspace, owner, added)"
            f" SELECT 'other', '{NOBODY}', 'lost.png', month, 'posted', workspace, owner, added"
            " FROM attempt WHERE id = ?"
        )
        planted.change_ledger(insert, call)
        assert verify(planted, capsys) == (0, [])
        assert "lost.png: the call other counts, and its page has no line" in caplog.text


def test_a_change_of_a_workspace_would_be_seen(planted: Planted) -> None:
    """Negative control of the comparison of bytes: what a run does to the index is noticed."""
    before = planted.snapshot()
    planted.change_index("DELETE FROM page WHERE source = ?", A.encode())
    after = planted.snapshot()
    assert after != before
    with Index.open(planted.workspace) as index:
        index.leave_file(SourceFile("new.png", None))
    assert planted.snapshot() != after


def _flip(line: bytes, at: int) -> bytes:
    return line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]


def _delete(planted: Planted, at: int, name: str = RESULTS) -> None:
    lines = planted.lines(name)
    del lines[at]
    planted.rewrite(lines, name)


def _swap(planted: Planted, first: int, second: int) -> None:
    lines = planted.lines()
    lines[first], lines[second] = lines[second], lines[first]
    planted.rewrite(lines)


def _join(planted: Planted, at: int, kept: int) -> None:
    """Keep so many bytes of a line, and let the next one follow on the same line."""
    planted.edit(at, lambda line: line[:-1][:kept])


def _zero(line: bytes) -> bytes:
    return line[:100] + bytes(200) + line[300:]


def _pay_again(planted: Planted) -> None:
    line = planted.lines()[planted.find(A)]
    planted.append(resealed(line, source="again.png", attempt="another-000001"))


def _use_call_again(planted: Planted) -> None:
    planted.reseal(planted.find(B), attempt=planted.attempt(A))


def _fail_later(planted: Planted) -> None:
    text, line = planted.lines()[planted.find(A)], planted.lines(FAILURES)[planted.find(FLAKY, FAILURES)]
    planted.append(resealed(line, source=A, id=orjson.loads(text)["id"], added="2999-01-01T00:00:00.000000Z"), FAILURES)


def _break_text(planted: Planted) -> None:
    at = planted.find(A)
    body = planted.lines()[at].partition(b',"crc32":')[0].replace(b"text of", b"text \xff\xfe") + b"}"
    planted.edit(at, lambda _: seal(body))


def _take_for_ever(planted: Planted) -> None:
    """Say a number that no database holds."""
    at = planted.find(A)
    body = re.sub(rb',"crc32":\d+\}\n', b"}", planted.lines()[at])
    planted.edit(at, lambda _: seal(re.sub(rb'"elapsed_ms":\d+', b'"elapsed_ms":-' + b"9" * 30, body)))


def _rescue(planted: Planted) -> None:
    size = (planted.workspace / RESULTS).stat().st_size
    (planted.workspace / f"{RESULTS}.rescued-{size}-20260101T000000000000").write_bytes(planted.lines()[0])


def _overwrite(path: Path, at: int, noise: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])


def _call(planted: Planted, state: str) -> None:
    planted.change_ledger("UPDATE attempt SET state = ? WHERE id = ?", state, planted.attempt(A))


LINES = [
    pytest.param(lambda p: p.edit(p.find(A), lambda line: _flip(line, 90)), "its checksum does not match", id="bit"),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: _flip(line, -3)), "its checksum does not match", id="bit-in-the-crc"
    ),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: line[:-4] + line[-2:]), "checksum", id="digit-of-the-crc-missing"
    ),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: line.partition(b',"crc32"')[0] + b"}\n"),
        "no checksum at its end",
        id="without-checksum",
    ),
    pytest.param(lambda p: p.edit(p.find(A), _zero), "200 zero bytes", id="block-of-zeros"),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda line: line[:-1] + b"\r\n"), "its end is CR LF", id="line-end-of-windows"
    ),
    pytest.param(lambda p: _join(p, p.find(A), 9999), "a whole line that goes on behind its end", id="newline-lost"),
    pytest.param(lambda p: _join(p, p.find(A), 120), "a torn line, and a whole one behind it", id="torn-in-the-middle"),
    pytest.param(lambda p: p.edit(p.find(A), lambda line: b"\n" + line), "an empty line", id="empty-line"),
    pytest.param(
        lambda p: p.edit(p.find(A), lambda _: seal(b'{"hello":1}')), "missing required field `id`", id="foreign-line"
    ),
    pytest.param(_break_text, "utf-?8", id="text-that-is-not-utf-8"),
    pytest.param(lambda p: p.reseal(p.find(A), page=0), "Expected `int` >= 1 - at `$.page`", id="page-0"),
    pytest.param(lambda p: p.reseal(p.find(A), page=2), f"{A}: its id sha256:.* does not fit", id="another-page"),
    pytest.param(
        lambda p: p.reseal(p.find(A), sha256="0" * 64), f"{A}: its id sha256:.* does not fit", id="another-file"
    ),
    pytest.param(lambda p: p.reseal(p.find(A), id="page 1"), f"{A}: its id 'page 1' is none of a page", id="no-id"),
    pytest.param(
        lambda p: p.reseal(p.find(URL), source=URL + "?"), "its id url:.* is that of another URL", id="another-url"
    ),
    pytest.param(lambda p: p.reseal(p.find(A), added="yesterday"), f"{A}: added is no time: 'yesterday'", id="no-time"),
    pytest.param(_take_for_ever, f"{A}: elapsed_ms is -999", id="negative-time"),
    pytest.param(lambda p: p.reseal(p.find(A), attempt=""), f"{A}: it names no call", id="no-call"),
]


@pytest.mark.parametrize(("plant", "named"), LINES)
def test_a_damaged_line_is_named_by_its_number(
    planted: Planted, plant: Plant, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever happened to a line of results.jsonl: exit 1, its number, and what is wrong with it."""
    number = planted.find(URL if "URL" in named else A) + 1
    plant(planted)
    code, faults = verify(planted, capsys)
    assert code == 1
    assert [fault for fault in faults if re.search(f"^results.jsonl:{number}: .*{_quote(named)}", fault)], faults


def _quote(named: str) -> str:
    return named.replace("$", r"\$").replace("?", r"\?").replace(r"utf-\?8", "[Uu][Tt][Ff]-?8").replace("'", ".")


FAULTS = [
    pytest.param(lambda p: p.append(p.lines()[0][:-30]), "results.jsonl:24: it ends without a newline", id="torn-tail"),
    pytest.param(lambda p: _delete(p, 0), "scans/caf\\xe9.png page 1: counts as done and has no line", id="first"),
    pytest.param(lambda p: _delete(p, p.find(A)), f"{A} page 1: counts as done and has no line", id="middle-removed"),
    pytest.param(
        lambda p: _delete(p, -1), "scans/page-0006.png page 1: counts as done and has no line", id="last-removed"
    ),
    pytest.param(
        lambda p: p.rewrite(p.lines()[:-9]), "index.sqlite3: it has read another results.jsonl", id="older-results"
    ),
    pytest.param(
        lambda p: p.append(p.lines()[1]),
        "results.jsonl:24: scans/page-0000.png: line 2 has a text of the same call",
        id="x2",
    ),
    pytest.param(
        lambda p: _swap(p, 0, 1), "is looked for at byte 0; its first record begins at byte", id="lines-swapped"
    ),
    pytest.param(
        lambda p: _delete(p, p.find(ORIGINAL)), f"{COPY}: a duplicate of '{ORIGINAL}' without its record", id="original"
    ),
    pytest.param(
        lambda p: _swap(p, p.find(ORIGINAL), p.find(COPY)),
        f"{COPY}: a duplicate of '{ORIGINAL}' before its record",
        id="duplicate-first",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(COPY), duplicate_of="nobody.png"),
        f"{COPY}: a duplicate of 'nobody.png' without its record",
        id="duplicate-of-nobody",
    ),
    pytest.param(_pay_again, "again.png: line 3 has its content, so it was sent twice", id="paid-twice"),
    pytest.param(_use_call_again, f"{B}: line 3 has a text of the same call", id="call-of-two-texts"),
    pytest.param(_fail_later, f"{A}: it failed after its text was on disk (results.jsonl:3)", id="failed-when-done"),
    pytest.param(
        lambda p: p.edit(0, lambda line: _flip(line, 40), FAILURES),
        "failures.jsonl:1: its checksum does not match",
        id="bit-in-a-failure",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(EMPTY, FAILURES), FAILURES, **{"class": "tired"}),
        f"failures.jsonl:1: {EMPTY}: the class 'tired' is unknown",
        id="unknown-class",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(EMPTY, FAILURES), FAILURES, retryable=True),
        f"failures.jsonl:1: {EMPTY}: retryable is true, which the class empty never is",
        id="class-of-another-fate",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(FLAKY, FAILURES), FAILURES, id="sha256:0"),
        f"failures.jsonl:2: {FLAKY}: its id 'sha256:0' is not that of page 1",
        id="failure-without-id",
    ),
    pytest.param(
        lambda p: p.reseal(p.find(EMPTY, FAILURES), FAILURES, added="2026-13-01T00:00:00.000000Z"),
        f"failures.jsonl:1: {EMPTY}: added is no time",
        id="failure-in-month-13",
    ),
    pytest.param(
        lambda p: (p.workspace / FAILURES).unlink(), f"{TEXT} page 1: counts as failed and has no line", id="failures"
    ),
    pytest.param(_rescue, "lines of a failed disk wait here; the next run takes them in", id="rescued-lines"),
    pytest.param(
        lambda p: p.change_run_file(totals={"done": 17, "duplicate": 2, "failed": 3, "uncertain": 1, "pending": 1}),
        "run.json: 17 pages done, the files say 18",
        id="sums",
    ),
    pytest.param(
        lambda p: (p.workspace / "run.json").unlink(), "not a workspace (no run.json in it)", id="no-run-json"
    ),
    pytest.param(
        lambda p: _overwrite(p.workspace / "run.json", 2, b"\0" * 40), "run.json: JSON is malformed", id="run-json"
    ),
    pytest.param(
        lambda p: p.change_index("DELETE FROM page WHERE source = ?", A.encode()),
        f"index.sqlite3: {A} page 1: it does not know the page; the lines say done",
        id="index-lacks-a-page",
    ),
    pytest.param(
        lambda p: p.change_index("INSERT INTO page VALUES (X'78', 1, 'done', 0, '', ?)", NOBODY),
        "x page 1: counts as done and has no line that can be read",
        id="index-invents-a-page",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE page SET state = 'failed' WHERE source = ?", A.encode()),
        f"{A} page 1: counts as failed and has no line that can be read",
        id="index-says-another-state",
    ),
    pytest.param(
        lambda p: p.change_index(
            "UPDATE page SET retryable = 0 WHERE source = 'missing.png' OR source = ?", b"missing.png"
        ),
        "index.sqlite3: missing.png page 1: it says failed, ",
        id="index-gives-a-page-up",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE content SET offset = offset + 1 WHERE offset = 0"),
        "is looked for at byte 1; its first record begins at byte 0",
        id="index-leads-astray",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE content SET id = ? WHERE offset = 0", NOBODY),
        f"index.sqlite3: content {NOBODY} is looked for at byte 0; no line has it",
        id="index-invents-a-content",
    ),
    pytest.param(
        lambda p: p.change_index("DELETE FROM content WHERE offset = 0"),
        "index.sqlite3: it does not know the content sha256:",
        id="index-lacks-a-content",
    ),
    pytest.param(
        lambda p: p.change_index("UPDATE progress SET read_bytes = 4000 WHERE name = 'results.jsonl'"),
        "index.sqlite3: it has read another results.jsonl",
        id="index-of-other-lines",
    ),
    pytest.param(
        lambda p: _overwrite(p.workspace / INDEX, 4096, b"\xff" * 4096),
        "index.sqlite3: damaged: ",
        id="index-overwritten",
    ),
    pytest.param(
        lambda p: _overwrite(p.workspace / INDEX, 60, b"\0\0\0\x63"), "index.sqlite3: damaged: format 99", id="index-99"
    ),
    pytest.param(
        lambda p: p.ledger.unlink(), "it is gone; the calls that it counted cannot be checked", id="no-ledger"
    ),
    pytest.param(
        lambda p: _overwrite(p.ledger, 4096, b"\xff" * 4096), ".sqlite3: *** in database main *** Page 2", id="ledger"
    ),
    pytest.param(
        lambda p: p.change_ledger("DELETE FROM attempt WHERE id = ?", p.attempt(A)),
        f"results.jsonl:3: {A}: no ledger counts its call",
        id="call-uncounted",
    ),
    pytest.param(lambda p: _call(p, "void"), f"{A}: the ledger counts its call", id="call-never-made"),
    pytest.param(lambda p: _call(p, "pending"), "as under way", id="call-under-way"),
    pytest.param(lambda p: _call(p, "unknown"), "as lost", id="call-lost"),
    pytest.param(
        lambda p: p.change_ledger("UPDATE attempt SET page = ? WHERE id = ?", NOBODY, p.attempt(A)),
        f"as one for another content ({A})",
        id="call-of-another-page",
    ),
]


@pytest.mark.parametrize(("plant", "named"), FAULTS)
def test_a_planted_fault_is_named(
    planted: Planted, plant: Plant, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, and a line that says what is wrong and where."""
    plant(planted)
    code, faults = verify(planted, capsys)
    assert code == 1
    assert [fault for fault in faults if named in fault], faults


def test_each_kind_of_fault_has_words_of_its_own() -> None:
    """At least forty kinds; no two of the lists expect the same words, but for the checksum's."""
    words = [str(kind.values[1]) for kind in [*LINES, *FAULTS]]
    assert len(words) >= 40
    assert len({word for word in words if words.count(word) > 1}) <= 4


def test_a_workspace_that_cannot_be_written_is_verified_and_told_of(made: Planted, tmp_path: Path) -> None:
    """On a read-only medium both commands work, and say the same as elsewhere."""
    planted = made.copy_to(tmp_path / "copy")
    # root may write everywhere: without the capability it is bound by the permissions like anybody
    bound = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    with only_readable(planted.root):
        done = {
            command: run(
                [*bound, *COMMAND, command, str(planted.workspace)],
                capture_output=True,
                check=False,
                env=environment(None),
                timeout=60,
            )
            for command in ("verify", "status")
        }
    assert (done["verify"].returncode, done["verify"].stdout) == (0, b""), done["verify"].stderr
    assert done["status"].returncode == 0, done["status"].stderr
    assert b"done              18" in done["status"].stdout


def test_status_of_a_damaged_index_is_that_of_the_lines(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    """What can be derived again is; the page that waited leaves no line."""
    (planted.workspace / INDEX).write_bytes(b"x" * 9000)
    assert show_status(planted.workspace, as_json=True) == 0
    status = orjson.loads(capsys.readouterr().out)
    assert {state: status[state] for state in ("done", "duplicate", "failed", "uncertain", "pending")} == {
        "done": 18, "duplicate": 2, "failed": 3, "uncertain": 1, "pending": 0,
    }  # fmt: skip

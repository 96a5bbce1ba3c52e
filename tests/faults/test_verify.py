"""`verify` reports each fault that is planted in a workspace of real runs or in its ledger, and nothing else."""

import logging
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from subprocess import run

import orjson
import pytest

from pipeline.cli.status import show_status
from pipeline.cli.verify import verify_workspace
from pipeline.records import SourceFile
from pipeline.workspace.index import Index
from pipeline.workspace.paths import INDEX, RESULTS
from tests.faults.planted_faults import CHANGED, DAMAGED_LINES, LATIN, NOBODY, OTHER_FAULTS, URL, A, Tamper
from tests.faults.tampering import TamperedWorkspace, make_workspace, only_readable
from tests.runs import COMMAND, environment, results


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TamperedWorkspace:
    """One workspace of real runs for all tests of the module, which copy it."""
    return make_workspace(tmp_path_factory.mktemp("made"))


@pytest.fixture
def tampered(made: TamperedWorkspace, tmp_path: Path) -> TamperedWorkspace:
    """A copy of it that the test may damage."""
    return made.copy_to(tmp_path / "copy")


def verify(tampered: TamperedWorkspace, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit code and the reported faults; fail if a byte of a file was changed."""
    before = tampered.snapshot()
    code = verify_workspace(tampered.workspace)
    assert tampered.snapshot() == before
    return code, capsys.readouterr().out.splitlines()


class TestNoFault:
    """Conditions that `verify` must not report."""

    def test_the_workspace_has_pages_in_every_state(self, made: TamperedWorkspace) -> None:
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
            pytest.param(lambda _: None, id="unchanged"),
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
        self, tampered: TamperedWorkspace, change: Tamper, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Negative control of all tests below."""
        change(tampered)
        assert verify(tampered, capsys) == (0, [])

    def test_an_index_with_an_unfinished_commit_is_no_fault(
        self, tampered: TamperedWorkspace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its journal is applied to a copy; the workspace keeps both files unchanged."""
        path = tampered.workspace / INDEX
        names = (path, path.with_name(f"{INDEX}-journal"))
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA cache_size = 1")  # so that a part of the transaction is already in the file
            db.execute("DELETE FROM page")
            columns = "source, page, state, retryable, added, id"
            db.execute(f"INSERT INTO page ({columns}) SELECT id, 1, 'done', 0, randomblob(3000), '' FROM content")
            torn = [name.read_bytes() for name in names]
        assert torn[0] != path.read_bytes()
        for name, content in zip(names, torn, strict=True):
            name.write_bytes(content)
        assert verify(tampered, capsys) == (0, [])

    def test_open_calls_of_a_killed_run_are_no_fault(
        self, tampered: TamperedWorkspace, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A text whose call was not settled before the kill is logged; the next run settles it."""
        caplog.set_level(logging.INFO)
        tampered.change_ledger("UPDATE attempt SET state = 'pending' WHERE id = ?", tampered.attempt(A))
        tampered.change_ledger("UPDATE workspace SET accepted = accepted - 1")
        tampered.change_ledger("UPDATE month SET settled = settled - 1")
        tampered.change_run_file(finished=None)
        assert verify(tampered, capsys) == (0, [])
        assert "1 calls of the last run as under way" in caplog.text

    def test_a_call_without_a_line_is_logged_and_no_fault(
        self, tampered: TamperedWorkspace, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The call may have failed in a run that ended before the page did."""
        call = tampered.attempt(A)
        insert = (
            "INSERT INTO attempt (id, page, source, month, state, workspace, owner, added)"
            f" SELECT 'other', '{NOBODY}', 'lost.png', month, 'posted', workspace, owner, added"
            " FROM attempt WHERE id = ?"
        )
        tampered.change_ledger(insert, call)
        assert verify(tampered, capsys) == (0, [])
        assert "lost.png: the call other counts, and its page has no line" in caplog.text


def test_the_snapshot_sees_a_change_of_the_index(tampered: TamperedWorkspace) -> None:
    """Negative control of the comparison of bytes in `verify`."""
    before = tampered.snapshot()
    tampered.change_index("DELETE FROM page WHERE source = ?", A.encode())
    after = tampered.snapshot()
    assert after != before
    with Index.open(tampered.workspace) as index:
        index.mark_file_pending(SourceFile("new.png", None))
    assert tampered.snapshot() != after


@pytest.mark.parametrize(("tamper", "message"), DAMAGED_LINES)
def test_a_damaged_line_is_reported_with_its_number(
    tampered: TamperedWorkspace, tamper: Tamper, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = tampered.find(URL if "URL" in message else A) + 1
    tamper(tampered)
    code, faults = verify(tampered, capsys)
    assert code == 1
    assert [fault for fault in faults if re.search(f"^results.jsonl:{number}: .*{_quote(message)}", fault)], faults


def _quote(message: str) -> str:
    return message.replace("$", r"\$").replace("?", r"\?").replace(r"utf-\?8", "[Uu][Tt][Ff]-?8").replace("'", ".")


@pytest.mark.parametrize(("tamper", "message"), OTHER_FAULTS)
def test_a_planted_fault_is_reported(
    tampered: TamperedWorkspace, tamper: Tamper, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(tampered)
    code, faults = verify(tampered, capsys)
    assert code == 1
    assert [fault for fault in faults if message in fault], faults


def test_at_least_forty_kinds_of_faults_have_their_own_message() -> None:
    """Only the checksum has the same message for several kinds."""
    messages = [str(kind.values[1]) for kind in [*DAMAGED_LINES, *OTHER_FAULTS]]
    assert len(messages) >= 40
    assert len({message for message in messages if messages.count(message) > 1}) <= 4


def test_verify_and_status_work_in_a_workspace_without_write_permission(
    made: TamperedWorkspace, tmp_path: Path
) -> None:
    """As on a read-only medium."""
    tampered = made.copy_to(tmp_path / "copy")
    # without these capabilities root is bound by file permissions like any other user
    unprivileged = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    with only_readable(tampered.root):
        done = {
            command: run(
                [*unprivileged, *COMMAND, command, str(tampered.workspace)],
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


def test_status_with_a_damaged_index_is_that_of_the_lines(
    tampered: TamperedWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page that was pending has no line."""
    (tampered.workspace / INDEX).write_bytes(b"x" * 9000)
    assert show_status(tampered.workspace, as_json=True) == 0
    status = orjson.loads(capsys.readouterr().out)
    assert {state: status[state] for state in ("done", "duplicate", "failed", "uncertain", "pending")} == {
        "done": 18, "duplicate": 2, "failed": 3, "uncertain": 1, "pending": 0,
    }  # fmt: skip

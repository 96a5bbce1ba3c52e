"""What stderr tells: one line a message, nothing on stdout, and never an error of its own."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from tqdm import tqdm

from pipeline.cli.console import set_up_logging
from pipeline.config import LogConfig
from pipeline.errors import UsageError

ROOT = Path(__file__).parents[2]
Level = Literal["debug", "info", "warning", "error"]
LOGGER = logging.getLogger("pagemill")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the logger as other tests expect it."""
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    set_up_logging()  # closes the log file
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


class TestText:
    """For people."""

    @pytest.mark.parametrize(
        ("level", "line"),
        [
            pytest.param(logging.INFO, "pagemill: 3 pages\n", id="info-is-plain"),
            pytest.param(logging.WARNING, "pagemill: warning: 3 pages\n", id="warning"),
            pytest.param(logging.ERROR, "pagemill: error: 3 pages\n", id="error"),
            pytest.param(logging.DEBUG, "", id="debug-is-not-asked-for"),
        ],
    )
    def test_a_message_is_a_line_on_stderr(self, capsys: pytest.CaptureFixture[str], level: int, line: str) -> None:
        """It names the program and, unless it is plain information, how bad it is."""
        set_up_logging(LogConfig())
        LOGGER.log(level, "%d pages", 3)
        assert capsys.readouterr() == ("", line)

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            pytest.param("a\nb\r\x1b[31m", r"a\nb\r\x1b[31m", id="control-characters"),
            pytest.param("a\u2028b\x85c", r"a\u2028b\x85c", id="other-line-ends"),
            pytest.param("a\u202eb", r"a\u202eb", id="text-direction"),
            pytest.param("扫描 1.png", "扫描 1.png", id="chinese"),
            pytest.param("caf\udce9.png", r"caf\xe9.png", id="not-utf-8"),
        ],
    )
    def test_no_file_name_can_tear_or_forge_a_line(
        self, capsys: pytest.CaptureFixture[str], name: str, shown: str
    ) -> None:
        """Names come from strangers."""
        set_up_logging(LogConfig())
        LOGGER.info("%s: empty", name)
        assert capsys.readouterr().err == f"pagemill: {shown}: empty\n"


class TestJson:
    """For machines."""

    def test_a_message_is_an_object(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With its time, level, page and class of error."""
        set_up_logging(LogConfig(format="json"))
        before = datetime.now(UTC)
        LOGGER.warning("%s: %s", "a\nb\udcff 扫", "zero bytes", extra={"page": 2, "class": "empty"})
        out, err = capsys.readouterr()
        fields = json.loads(err)
        moment = datetime.fromisoformat(fields.pop("time"))
        assert before <= moment <= datetime.now(UTC)
        assert fields == {"level": "warning", "message": "a\nb\ufffd 扫: zero bytes", "page": 2, "class": "empty"}
        assert (out, err.count("\n")) == ("", 1)

    def test_what_a_message_does_not_have_is_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        """No nulls."""
        set_up_logging(LogConfig(format="json"))
        LOGGER.info("done")
        assert list(json.loads(capsys.readouterr().err)) == ["time", "level", "message"]


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_says_what_is_told(capsys: pytest.CaptureFixture[str], level: Level, lines: int) -> None:
    """From there upwards."""
    set_up_logging(LogConfig(level=level))
    for each in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        LOGGER.log(each, "x")
    assert capsys.readouterr().err.count("\n") == lines


def test_setting_up_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that runs twice does not tell everything twice."""
    set_up_logging(LogConfig(format="json"))
    set_up_logging(LogConfig())
    LOGGER.info("once")
    assert capsys.readouterr().err == "pagemill: once\n"


def test_messages_do_not_reach_the_root_logger(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever embeds pagemill does not get its lines twice."""
    root, seen = logging.getLogger(), logging.NullHandler()
    set_up_logging(LogConfig())
    root.addHandler(seen)
    try:
        assert not LOGGER.propagate
        LOGGER.info("once")
    finally:
        root.removeHandler(seen)
    assert capsys.readouterr().err == "pagemill: once\n"


def test_a_message_does_not_tear_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar is wiped, the line written, the bar drawn again."""
    set_up_logging(LogConfig())
    with tqdm(total=10, file=sys.stderr, mininterval=0, ncols=60) as bar:
        bar.update(3)
        LOGGER.info("hello")
    shown = capsys.readouterr().err.replace("\r", "\n").split("\n")
    assert "pagemill: hello" in [line.strip() for line in shown]
    assert shown.index("pagemill: hello") < max(place for place, line in enumerate(shown) if "3/10" in line)


@pytest.mark.parametrize("bar", ["", "import tqdm"])
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_a_stderr_that_takes_nothing_stops_nothing(stderr: str, bar: str) -> None:
    """Closed or full: results matter more than messages, and messages never end up on stdout."""
    script = f"""
import logging
{bar}
from pipeline.config import LogConfig
from pipeline.errors import UsageError
from pipeline.cli.console import set_up_logging
set_up_logging(LogConfig())
logging.getLogger("pagemill").warning("lost")
print("data")
"""
    command = ["sh", "-c", f'"$0" -c "$1" {stderr}', sys.executable, script]
    # Unbuffered, since the interpreter itself complains at its end about what a full disk did not take.
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT, env=environ)
    assert done.stdout == b"data\n"


RUN_ID = "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b"


def read_messages(path: Path) -> list[str]:
    """Return the messages of a log file in JSON."""
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


class TestLogFile:
    """The log of a run, beside stderr."""

    def test_it_gets_json_with_the_run_s_id_whatever_stderr_shows(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "log.jsonl"
        set_up_logging(LogConfig(file=path), stderr_level="error", run_id=RUN_ID)
        LOGGER.info("12 new")
        LOGGER.error("caf\udce9.png: gone")
        assert capsys.readouterr().err == "pagemill: error: caf\\xe9.png: gone\n"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(line["level"], line["run"]) for line in lines] == [("info", RUN_ID), ("error", RUN_ID)]

    def test_it_may_be_text_with_the_time(self, tmp_path: Path) -> None:
        path = tmp_path / "log.txt"
        set_up_logging(LogConfig(file=path, file_format="text"), run_id=RUN_ID)
        LOGGER.warning("页: %s", "a\nb")
        moment, _, rest = path.read_text().partition(" ")
        assert datetime.fromisoformat(moment).tzinfo is not None
        assert rest == "pagemill: warning: 页: a\\nb\n"

    def test_a_command_that_is_no_run_leaves_it_alone(self, tmp_path: Path) -> None:
        set_up_logging(LogConfig(file=tmp_path / "log"))
        LOGGER.info("done")
        assert not (tmp_path / "log").exists()

    def test_it_may_be_moved_away_or_truncated_meanwhile(self, tmp_path: Path) -> None:
        """As logrotate does, with `create` and with `copytruncate`."""
        path = tmp_path / "log"
        set_up_logging(LogConfig(file=path), run_id=RUN_ID)
        LOGGER.info("first")
        path.rename(tmp_path / "log.1")
        LOGGER.info("second")
        os.truncate(path, 0)
        LOGGER.info("third")
        assert (read_messages(tmp_path / "log.1"), read_messages(path)) == (["first"], ["third"])

    def test_a_second_run_appends(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            set_up_logging(LogConfig(file=tmp_path / "log"), run_id=RUN_ID)
            LOGGER.info(name)
        assert read_messages(tmp_path / "log") == ["first", "second"]

    def test_one_that_cannot_be_opened_is_an_error_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"log file .*: No such file or directory"):
            set_up_logging(LogConfig(file=tmp_path / "missing" / "log"), run_id=RUN_ID)

    def test_a_directory_that_vanishes_is_one_warning(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`WatchedFileHandler` would raise the error of reopening into the run."""
        directory = tmp_path / "logs"
        directory.mkdir()
        set_up_logging(LogConfig(file=directory / "log"), run_id=RUN_ID)
        (directory / "log").unlink()
        directory.rmdir()
        for number in range(3):
            LOGGER.info("page %d", number)
        shown = capsys.readouterr().err.splitlines()
        assert [line for line in shown if "warning" in line] == [
            f"pagemill: warning: log file {directory / 'log'}: No such file or directory; its lines are lost"
        ]
        assert [line for line in shown if "warning" not in line] == [f"pagemill: page {number}" for number in range(3)]

    def test_a_full_disk_is_one_warning(self, capsys: pytest.CaptureFixture[str]) -> None:
        set_up_logging(LogConfig(file=Path("/dev/full")), run_id=RUN_ID)
        LOGGER.info("a")
        LOGGER.info("b")
        shown = capsys.readouterr().err
        assert shown.count("log file /dev/full: No space left on device; its lines are lost") == 1
        assert "Traceback" not in shown

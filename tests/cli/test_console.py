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

ROOT = Path(__file__).parents[2]
Level = Literal["debug", "info", "warning", "error"]
LOGGER = logging.getLogger("pagemill")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the logger as other tests expect it."""
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
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

"""`pagemill quota`: the ledger by month, as a table and as JSON."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.billing import Calendar, billing_month, reset_time
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.operations import Reserve, Settle
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import PageId
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.runs import KEY, run_command, run_here

URL = "http://127.0.0.1:9"
NOW = datetime.now(UTC)
PAGE = PageId("sha256:00#1")


def fill_ledger(directory: Path, now: datetime, calendar: Calendar) -> None:
    """Make a ledger with three calls of one month: one posted, one pending, one unknown."""
    path = ledger_path(directory, KEY, "127.0.0.1")
    with closing(SqliteLedger(path, calendar, None, now=lambda: now)) as ledger:
        ids = [f"{now:%Y%m}-{number}" for number in range(3)]
        names = iter(ids)
        ledger.execute([Reserve(PAGE)] * 3, "w", "o", lambda: next(names))
        ledger.execute([Settle(ids[0], AttemptState.POSTED), Settle(ids[2], AttemptState.UNKNOWN)], "w", "o", str)


async def read_quota(directory: Path, *flags: str, **environ: str) -> tuple[list[dict[str, Any]], str]:
    """Return the months that `quota --json` prints, and its stderr."""
    done = await run_command("quota", "--api-url", URL, "--ledger", directory, "--json", *flags, **environ)
    assert done.returncode == 0, done.stderr.decode()
    return orjson.loads(done.stdout), done.stderr.decode()


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        pytest.param("UTC", 1, id="utc"),
        pytest.param("Asia/Shanghai", 15, id="shanghai-on-the-15th"),
        pytest.param("America/New_York", 28, id="new-york-on-the-28th"),
    ],
)
async def test_each_month_has_its_counts_and_its_end(tmp_path: Path, zone: str, day: int) -> None:
    """The end is the reset in UTC, by the plan's time zone and day."""
    calendar = Calendar(zone, day)
    fill_ledger(tmp_path, NOW, calendar)
    environ = {"PAGEMILL_BUDGET_TIMEZONE": zone, "PAGEMILL_BUDGET_RESET_DAY": str(day)}
    months, stderr = await read_quota(tmp_path, "--quota", "10", **environ)
    month = billing_month(NOW, calendar)
    resets = reset_time(month, calendar)
    assert stderr == ""
    (row,) = [row for row in months if row["month"] == month]
    assert row == {
        "month": month,
        "used": 3,
        "pending": 1,
        "unknown": 1,
        "limit": 10,
        "left": 7,
        "resets": f"{resets:%Y-%m-%dT%H:%M:%SZ}",
    }
    table = await run_command("quota", "--api-url", URL, "--ledger", tmp_path, "--quota", "10", **environ)
    assert f"{month}        3        1        1         7  {resets:%Y-%m-%d %H:%M}" in table.stdout.decode()


async def test_the_current_month_is_listed_without_any_call(tmp_path: Path) -> None:
    fill_ledger(tmp_path, NOW - timedelta(days=60), Calendar())
    months, _ = await read_quota(tmp_path, "--tier", "free")
    assert months[-1]["month"] == billing_month(NOW, Calendar())
    assert months[-1]["left"] == 29  # a call that was pending 60 days ago may still be sent


async def test_a_ledger_ahead_of_the_clock_is_reported_and_repaired(scans: Path, tmp_path: Path) -> None:
    """`run` and `quota` warn in one line; `--already-used` corrects the ledger."""
    later = NOW + timedelta(days=4 * 365)
    fill_ledger(tmp_path / "ledger", later, Calendar())
    write_page(scans / "a.png", 1)
    async with serve_fake() as fake:
        flags = ("--api-url", fake.url, "--ledger", tmp_path / "ledger", "--no-progress")
        run = await run_command("run", scans, "-o", tmp_path / "out", *flags)
    _, stderr = await read_quota(tmp_path / "ledger")
    for text in (run.stderr.decode(), stderr):
        (line,) = [line for line in text.splitlines() if "clock" in line]
        assert billing_month(later, Calendar()) in line
        assert billing_month(NOW, Calendar()) in line
        assert "--already-used" in line
    months, stderr = await read_quota(tmp_path / "ledger", "--already-used", "5", "--quota", "10")
    assert stderr == ""
    assert [(row["month"], row["used"], row["left"]) for row in months][-1] == (
        billing_month(NOW, Calendar()),
        6,
        4,
    )
    assert (await read_quota(tmp_path / "ledger"))[1] == ""


async def test_a_number_below_what_was_counted_needs_force(tmp_path: Path) -> None:
    """A slip of the finger would let pagemill make more calls than the plan has; the old number is named."""
    fill_ledger(tmp_path, NOW, Calendar())
    month = billing_month(NOW, Calendar())
    flags = ("quota", "--api-url", URL, "--ledger", tmp_path, "--already-used", "1", "--json")
    refused = await run_command(*flags)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert f"--already-used 1: the ledger has counted 2 calls in {month}".encode() in refused.stderr
    assert b"--force" in refused.stderr
    assert [row["used"] for row in (await read_quota(tmp_path))[0]] == [3]
    forced = await run_command(*flags, "--force")
    assert forced.returncode == 0
    assert f"{month}: the ledger had counted 2 calls; now it is 1".encode() in forced.stderr
    assert [row["used"] for row in (await read_quota(tmp_path))[0]] == [2]


@pytest.mark.parametrize("used", ["2", "7"], ids=["the-same", "more"])
async def test_a_number_that_is_not_lower_needs_no_force(tmp_path: Path, used: str) -> None:
    """The pending call counts on top."""
    fill_ledger(tmp_path, NOW, Calendar())
    done = await run_command("quota", "--api-url", URL, "--ledger", tmp_path, "--already-used", used)
    assert done.returncode == 0, done.stderr
    assert [row["used"] for row in (await read_quota(tmp_path))[0]] == [int(used) + 1]


async def test_a_key_that_was_never_used_has_no_months(tmp_path: Path) -> None:
    """`quota` makes no ledger."""
    months, stderr = await read_quota(tmp_path / "ledger")
    assert months == []
    assert "nothing was counted" in stderr
    assert not (tmp_path / "ledger").exists()


async def test_the_calls_of_a_run_are_listed(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    months, _ = await read_quota(tmp_path / "ledger")
    assert [(row["used"], row["pending"], row["left"]) for row in months][-1] == (1, 0, None)

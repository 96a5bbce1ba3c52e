"""Read errors: a file of any format that cannot be read completely costs one page, and no part of it is sent."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes import FakeOcr, serve_fake
from tests.faults.accounts import count_used
from tests.faults.tracing import QUICK_STRACE
from tests.pages import write_page
from tests.runs import COMMAND, SABOTAGE, failures, results, run_arguments, run_command

SUFFIXES = ("png", "jpg", "gif", "bmp", "tif", "webp")
TRAILING_BYTES = 1 << 17
"""Bytes behind the image in its file: a read error there affects no pixel."""


def write_bad_and_good_files(scans: Path) -> tuple[set[str], Counter[str]]:
    """Write a bad and a good file of each format, with bytes behind the image; the TIFFs have two frames.

    Returns:
        The names of the bad files, whose reads will fail; the number of pages per good file.
    """
    for seed, suffix in enumerate(SUFFIXES):
        for name, colour in (("bad", 2 * seed), ("good", 2 * seed + 1)):
            path = write_page(scans / f"{name}.{suffix}", colour)
            if suffix == "tif":
                frames = [Image.new("L", (120, 120), 20 * colour + frame) for frame in range(2)]
                frames[0].save(path, save_all=True, append_images=frames[1:])
            with path.open("ab") as file:
                file.write(bytes(TRAILING_BYTES))
    bad = {f"bad.{suffix}" for suffix in SUFFIXES}
    return bad, Counter({f"good.{suffix}": 2 if suffix == "tif" else 1 for suffix in SUFFIXES})


async def run_on_a_failing_disk(
    fake: FakeOcr, scans: Path, directory: Path, inject: str, command: Sequence[str] = COMMAND
) -> int:
    """Run while strace injects this fault into reads of the bad files; return the exit code."""
    strace = [*QUICK_STRACE, "-o", os.devnull, "-e", "trace=read", "-e", f"inject=read:{inject}"]
    for suffix in SUFFIXES:
        strace += ["-P", str(scans / f"bad.{suffix}")]
    return (await run_command(*run_arguments(scans, directory, fake.url), command=[*strace, *command])).returncode


def check_only_bad_files_failed(fake: FakeOcr, directory: Path, bad: set[str], good: Counter[str]) -> None:
    """Fail unless no bad file was sent, each has one failure, and all good pages have their text."""
    paid = bad & {call.filename for call in fake.calls}
    assert not paid, f"billed for unreadable files: {sorted(paid)}"
    failed = sorted((line["source"], line["class"]) for line in failures(directory / "out"))
    assert failed == [(name, "unreadable") for name in sorted(bad)]
    assert Counter(line["source"] for line in results(directory / "out")) == good
    assert count_used(directory / "ledger") == fake.billed.total() == good.total()


@pytest.mark.parametrize(
    "inject",
    [
        pytest.param("error=EIO:when=2+2", id="error-at-the-end"),  # the second read of a file finds its end
        pytest.param("error=ESTALE", id="stale-nfs-handle"),
        pytest.param("error=EAGAIN", id="not-ready"),
    ],
)
async def test_a_failing_read_costs_one_page_of_any_format(scans: Path, tmp_path: Path, inject: str) -> None:
    bad, good = write_bad_and_good_files(scans)
    async with serve_fake() as fake:
        assert await run_on_a_failing_disk(fake, scans, tmp_path, inject) == 3
    check_only_bad_files_failed(fake, tmp_path, bad, good)


async def test_ignored_read_errors_fail_the_check(scans: Path, tmp_path: Path) -> None:
    """Negative control: the bytes before the error count as the file and are sent."""
    bad, good = write_bad_and_good_files(scans)
    async with serve_fake() as fake:
        await run_on_a_failing_disk(fake, scans, tmp_path, "error=EIO:when=2+2", (*SABOTAGE, "ignore-read-errors"))
    with pytest.raises(AssertionError, match="billed for unreadable files"):
        check_only_bad_files_failed(fake, tmp_path, bad, good)

"""Disks that fail while a page is read: whatever the file is, it costs a line, and no text is made of a part."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.benchmarks.one_key import SABOTAGE
from tests.fakes import FakeOcr, serve_fake
from tests.faults.accounts import count_used
from tests.faults.tracing import QUICK_STRACE
from tests.pages import write_page
from tests.runs import COMMAND, failures, results, run_command

SUFFIXES = ("png", "jpg", "gif", "bmp", "tif", "webp")
BEHIND_BYTES = 1 << 17
"""What follows the image in its file: a bad sector there spoils no pixel."""


def write_odd_files(scans: Path) -> tuple[set[str], Counter[str]]:
    """Write two files of each format, with bytes behind the image; the TIFFs have two frames.

    Returns:
        The names of the files that cannot be read to their end; how many pages each other file has.
    """
    for seed, suffix in enumerate(SUFFIXES):
        for name, colour in (("bad", 2 * seed), ("good", 2 * seed + 1)):
            path = write_page(scans / f"{name}.{suffix}", colour)
            if suffix == "tif":
                frames = [Image.new("L", (120, 120), 20 * colour + frame) for frame in range(2)]
                frames[0].save(path, save_all=True, append_images=frames[1:])
            with path.open("ab") as file:
                file.write(bytes(BEHIND_BYTES))
    bad = {f"bad.{suffix}" for suffix in SUFFIXES}
    return bad, Counter({f"good.{suffix}": 2 if suffix == "tif" else 1 for suffix in SUFFIXES})


async def run_on_a_failing_disk(
    fake: FakeOcr, scans: Path, directory: Path, inject: str, command: Sequence[str] = COMMAND
) -> int:
    """Run while reads of the bad files fail as strace is told; return the exit code."""
    strace = [*QUICK_STRACE, "-o", os.devnull, "-e", "trace=read", "-e", f"inject=read:{inject}"]
    for suffix in SUFFIXES:
        strace += ["-P", str(scans / f"bad.{suffix}")]
    place = ("-o", directory / "out", "--ledger", directory / "ledger", "--api-url", fake.url)
    return (await run_command("run", scans, *place, command=[*strace, *command])).returncode


def check_costs_a_line_each(fake: FakeOcr, directory: Path, bad: set[str], good: Counter[str]) -> None:
    """Fail unless nothing was billed for the bad files, each has its line, and all other pages have their text."""
    paid = bad & {call.filename for call in fake.calls}
    assert not paid, f"billed for what could not be read: {sorted(paid)}"
    failed = sorted((line["source"], line["class"]) for line in failures(directory / "out"))
    assert failed == [(name, "unreadable") for name in sorted(bad)]
    assert Counter(line["source"] for line in results(directory / "out")) == good
    assert count_used(directory / "ledger") == fake.billed.total() == good.total()


@pytest.mark.parametrize(
    "inject",
    [
        pytest.param("error=EIO:when=2+2", id="breaks-off"),  # a file takes two reads; the second finds its end
        pytest.param("error=ESTALE", id="server-has-another-file"),
        pytest.param("error=EAGAIN", id="would-wait"),
    ],
)
async def test_a_failing_read_costs_one_line_whatever_the_file_is(scans: Path, tmp_path: Path, inject: str) -> None:
    """Each ends as unreadable, uncalled and uncounted; those beside it are done, frame by frame."""
    bad, good = write_odd_files(scans)
    async with serve_fake() as fake:
        assert await run_on_a_failing_disk(fake, scans, tmp_path, inject) == 3
    check_costs_a_line_each(fake, tmp_path, bad, good)


async def test_an_error_that_is_passed_over_is_seen(scans: Path, tmp_path: Path) -> None:
    """Negative control: what came before the error passes for the file, and is paid for."""
    bad, good = write_odd_files(scans)
    async with serve_fake() as fake:
        await run_on_a_failing_disk(fake, scans, tmp_path, "error=EIO:when=2+2", (*SABOTAGE, "take-what-was-read"))
    with pytest.raises(AssertionError, match="billed for what could not be read"):
        check_costs_a_line_each(fake, tmp_path, bad, good)

"""`kill -9` between the tiles of a page, and torn lines: no paid tile is lost, only those in flight are sent again."""

import os
import signal
from collections import Counter
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.faults.accounts import list_faults
from tests.faults.tracing import trace
from tests.runs import COMMAND, SABOTAGE, read_lines, results, run_command, start_command, wait_for_end
from tests.tall_pages import TILES, write_tall_page

_KILLED = -signal.SIGKILL


def arguments(scans: Path, tmp_path: Path, fake: FakeOcr, *more: str) -> list[str]:
    """Return the arguments of a run with one job under small limits."""
    config = tmp_path / "small.toml"
    config.write_text("[prepare]\nmax_edge_px = 400\nmin_edge_px = 50\n")
    places = ("-o", tmp_path / "out", "--ledger", tmp_path / "ledger", "--api-url", fake.url, "-c", config)
    return [*map(str, ("run", scans, *places)), "-j", "1", *more]


def parts(tmp_path: Path) -> list[int]:
    """Return the numbers of the tiles whose texts are on disk."""
    return [line["tile"]["number"] for line in read_lines(tmp_path / "out" / "parts.jsonl")]


async def kill_in_call(scans: Path, tmp_path: Path, fake: FakeOcr, number: int, *, sabotage: str | None = None) -> None:
    """Kill a run while the service has this call."""
    command = COMMAND if sabotage is None else (*SABOTAGE, sabotage)
    hangs = anyio.Event()

    async def hang(call: Call) -> web.StreamResponse:
        if call.number == number:
            await hangs.wait()
        return accept(call)

    fake.script = hang
    async with start_command(*arguments(scans, tmp_path, fake), command=command) as process:
        await fake.wait_for_calls(number)
        os.killpg(process.pid, signal.SIGKILL)
        code, _ = await wait_for_end(process)
    assert code == _KILLED
    hangs.set()
    fake.script = accept
    await fake.wait_until_quiet()


async def finish(scans: Path, tmp_path: Path, fake: FakeOcr, *more: str) -> str | None:
    """Run to the end and return what is wrong then; None when all promises are kept."""
    ran = await run_command(*arguments(scans, tmp_path, fake, *more))
    if ran.returncode:
        return ran.stderr.decode()
    repeated = sum(Counter(call.digest for call in fake.calls).values()) - TILES
    if repeated > 1:
        return f"{repeated} tiles were sent again"
    faults = list_faults(tmp_path / "out")
    return faults[0] if faults else None


@pytest.fixture(autouse=True)
def _tall(scans: Path) -> None:
    write_tall_page(scans / "tall.png")


@pytest.mark.parametrize("number", [1, 3, TILES])
async def test_a_kill_between_two_tiles_repeats_the_call_in_flight_and_no_other(
    scans: Path, tmp_path: Path, number: int
) -> None:
    async with serve_fake() as fake:
        await kill_in_call(scans, tmp_path, fake, number)
        assert parts(tmp_path) == list(range(1, number))
        assert await finish(scans, tmp_path, fake) is None
        assert len(fake.calls) == TILES + 1
    assert parts(tmp_path) == [1, 2, 3, 4]
    assert len(results(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("sabotage", "fault"),
    [
        pytest.param("forget-parts", "no readable line", id="no-parts"),
        pytest.param("forget-parts,check-no-texts", "tiles were sent again", id="no-parts-and-no-check"),
    ],
)
async def test_without_the_guarantee_the_check_fails(scans: Path, tmp_path: Path, sabotage: str, fault: str) -> None:
    """Negative control."""
    async with serve_fake() as fake:
        await kill_in_call(scans, tmp_path, fake, 4, sabotage=sabotage)
        found = await finish(scans, tmp_path, fake, *(["--pay-again"] if "check" in sabotage else []))
    assert fault in (found or "")


@pytest.mark.parametrize(
    ("name", "nth"),
    [("write", 2), ("fdatasync", 2), ("write", TILES), ("fdatasync", TILES)],
)
async def test_a_kill_at_a_system_call_on_the_tiles_file_loses_none_that_was_recorded(
    scans: Path, tmp_path: Path, name: str, nth: int
) -> None:
    prefix = trace(tmp_path / "strace.log", [name], kill_at=(name, nth), files=[tmp_path / "out" / "parts.jsonl"])
    async with serve_fake() as fake:
        killed = await run_command(*arguments(scans, tmp_path, fake), command=[*prefix, *COMMAND])
        assert killed.returncode == _KILLED
        await fake.wait_until_quiet()
        assert set(range(1, nth)) <= set(parts(tmp_path))
        assert await finish(scans, tmp_path, fake) is None
    assert len(results(tmp_path / "out")) == 1


async def test_a_torn_line_is_moved_aside_and_its_tile_sent_again(scans: Path, tmp_path: Path) -> None:
    async with serve_fake() as fake:
        await kill_in_call(scans, tmp_path, fake, 3)
        path = tmp_path / "out" / "parts.jsonl"
        with path.open("ab") as file:
            file.write(path.read_bytes().splitlines()[0][:100])
        assert await finish(scans, tmp_path, fake) is None
    assert parts(tmp_path) == [1, 2, 3, 4]
    assert len(list((tmp_path / "out").glob("parts.jsonl.broken-*"))) == 1


async def test_a_kill_under_at_most_once_leaves_its_tile_uncertain(scans: Path, tmp_path: Path) -> None:
    """The other tiles are kept, and a run that may send again sends what is missing."""
    async with serve_fake() as fake:
        await kill_in_call(scans, tmp_path, fake, 3)
        once = await run_command(*arguments(scans, tmp_path, fake, "--at-most-once"))
        assert (once.returncode, len(fake.calls)) == (3, 3)
        assert b"tile 3 of 4" in once.stderr
        assert await finish(scans, tmp_path, fake) is None
        assert len(fake.calls) == TILES + 1

"""Power loss: only what was synced is there afterwards. A kill cannot show this, since the page cache survives it.

The system calls of one real run are replayed on a disk that keeps what was synced, and cut wherever we like.
"""

import random
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest

from tests.benchmarks.kills import open_scene
from tests.fakes import Call
from tests.faults.accounts import count_used, note
from tests.faults.durability import CALLS, Disk, File, replay
from tests.faults.scene import JOBS, PAGES, Scene
from tests.faults.tracing import SystemCall, read_log, trace
from tests.pages import write_pages

_POST = b"POST /api/text-recognition"


@pytest.fixture
async def scene(scans: Path, tmp_path: Path) -> AsyncGenerator[Scene]:
    """A workspace of fifty pages and its server; nothing else is in its directory."""
    write_pages(scans, PAGES)
    directory = tmp_path / "disk"
    directory.mkdir()
    async with open_scene(scans, directory) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole run, and how its disk was before."""

    scene: Scene
    disk: Disk
    calls: Sequence[SystemCall]


async def record(scene: Scene, *, sabotage: str | None = None) -> Recording:
    """Run to the end, with all that changes files or sends something in the log."""
    disk = Disk(scene.directory)
    log = scene.directory.parent / "strace.log"
    assert await scene.run(trace(log, CALLS, shown_bytes=1 << 20), sabotage=sabotage) == 0
    return Recording(scene, disk, read_log(log))


def check_order(recording: Recording) -> None:
    """Fail when a request went out before its reservation was on disk, or while too many replies were not.

    Looks at the disk at every request, as if the power were lost then.
    """
    scene, sent = recording.scene, 0
    for call in replay(recording.disk, recording.calls):
        if not _is_request(call):
            continue
        sent += 1
        with TemporaryDirectory() as name:
            recording.disk.leave(Path(name))
            reserved = count_used(Path(name, scene.ledgers.name))
            written = len(note(Path(name, scene.out.name), ()).lines)
        assert reserved >= sent, f"call {sent} went out when {reserved} reservations were on disk"
        assert sent - written <= JOBS, f"call {sent} went out when {written} lines were on disk"


def _is_request(call: SystemCall) -> bool:
    return call.to_network and call.data.startswith(_POST)


@dataclass(frozen=True, slots=True)
class Cut:
    """A power loss.

    Attributes:
        disk: What it left.
        requests: Names of the pages whose requests had gone out.
    """

    disk: Path
    requests: Counter[str]


def lose_power(
    recording: Recording, when: Callable[[int, SystemCall], bool], places: Path, rng: random.Random | None
) -> Iterator[Cut]:
    """Yield what a power loss leaves at each call for which `when`, given its number, is true."""
    requests: Counter[str] = Counter()
    for number, call in enumerate(replay(recording.disk, recording.calls)):
        if _is_request(call):
            body = call.data.partition(b"\r\n\r\n")[2]
            requests[orjson.loads(body)["filename"]] += 1
        if when(number, call):
            place = places / str(number)
            place.mkdir(parents=True)
            recording.disk.leave(place, rng)
            yield Cut(place, requests.copy())


async def check_recovery(scene: Scene, calls: Sequence[Call], cut: Cut) -> None:
    """Put the disk back as the power loss left it, check it, and run to the end; the server keeps what it saw."""
    left, billed = cut.requests.copy(), Counter[str]()
    scene.fake.calls.clear()
    for call in calls:
        if left[call.filename]:
            left[call.filename] -= 1
            scene.fake.calls.append(call)
            billed[call.digest] += 1
    scene.fake.billed = billed
    shutil.rmtree(scene.directory)
    shutil.copytree(cut.disk, scene.directory)
    again = Scene(scene.fake, scene.scans, scene.directory)
    again.check_stopped()
    assert await again.run() == 0
    again.check_finished()


async def test_the_replayed_disk_is_the_real_one(scene: Scene) -> None:
    """What processes see of the replayed files at the end is what stands in the files: the replay missed nothing."""
    recording = await record(scene)
    for _ in replay(recording.disk, recording.calls):
        pass
    real = {path for path in scene.directory.rglob("*") if path.is_file()}
    assert scene.out / "results.jsonl" in real
    for path in real:
        file = recording.disk.find(path)
        assert isinstance(file, File), path
        assert file.content() == path.read_bytes(), path


async def test_no_request_goes_out_before_its_reservation_nor_with_too_many_replies_unsynced(scene: Scene) -> None:
    """At every request of a run the disk, without what was not synced, has its reservation and all but 8 replies."""
    check_order(await record(scene))


@pytest.mark.parametrize(
    ("sabotage", "fault"),
    [
        pytest.param("sync-nothing", "0 lines were on disk", id="lines-are-not-synced"),
        pytest.param("sync-no-ledger", "reservations were on disk", id="reservations-are-not-synced"),
        pytest.param("sync-no-directory", "0 reservations were on disk", id="names-are-not-synced"),
        pytest.param("reserve-nothing", "0 reservations were on disk", id="nothing-is-reserved"),
    ],
)
async def test_without_syncs_the_order_is_broken(scene: Scene, sabotage: str, fault: str) -> None:
    """Negative control: the same check fails."""
    recording = await record(scene, sabotage=sabotage)
    with pytest.raises(AssertionError, match=fault):
        check_order(recording)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(None, id="nothing-unsynced-survives"),
        pytest.param(1, id="some-survives"),
        *(pytest.param(seed, id=f"other-survives-{seed}", marks=pytest.mark.deep) for seed in range(2, 8)),
    ],
)
async def test_after_a_power_loss_the_run_goes_on(scene: Scene, tmp_path: Path, seed: int | None) -> None:
    """At any moment: nothing that was synced vanishes or is paid again, and the ledger knew of every call."""
    rng = random.Random(seed)
    recording = await record(scene)
    calls = list(scene.fake.calls)
    chosen = {rng.randrange(len(recording.calls)) for _ in range(3)}
    for cut in lose_power(recording, lambda number, _: number in chosen, tmp_path / "cuts", rng if seed else None):
        await check_recovery(scene, calls, cut)


async def test_a_line_torn_by_a_power_loss_is_moved_aside(scene: Scene, tmp_path: Path) -> None:
    """Half a line is kept as evidence, and its page is sent again; the lines before it stay."""
    recording = await record(scene)
    calls = list(scene.fake.calls)
    results = str(scene.out / "results.jsonl")
    syncs = Counter[str]()

    def is_late_sync(_: int, call: SystemCall) -> bool:
        syncs.update(path for path in call.paths if call.name == "fdatasync")
        return call.name == "fdatasync" and call.paths == [results] and syncs[results] == 10

    (cut,) = lose_power(recording, is_late_sync, tmp_path / "cuts", random.Random(5))
    assert not (cut.disk / "out" / "results.jsonl").read_bytes().endswith(b"\n")
    await check_recovery(scene, calls, cut)
    assert list(scene.out.glob("results.jsonl.broken-*"))


async def test_lines_that_are_not_synced_are_lost_with_the_power(scene: Scene, tmp_path: Path) -> None:
    """Negative control: the same check fails, because more pages than were in flight have no line."""
    recording = await record(scene, sabotage="sync-nothing")
    calls = list(scene.fake.calls)
    last = len(recording.calls) - 1
    (cut,) = lose_power(recording, lambda number, _: number == last, tmp_path / "cuts", None)
    with pytest.raises(AssertionError, match="pages were sent and have no line"):
        await check_recovery(scene, calls, cut)

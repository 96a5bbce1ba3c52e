"""Power loss: only synced data is left. A kill cannot show this, because the page cache survives it.

The system calls of a real run are replayed on a simulated disk that keeps only synced data, up to any point.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest

from tests.fakes import Call
from tests.faults.accounts import count_used, note
from tests.faults.disk_replay import CALLS, Disk, File, replay
from tests.faults.scene import JOBS, Scene
from tests.faults.tracing import SystemCall, read_log, trace

_POST = b"POST /api/text-recognition"


@dataclass(frozen=True, slots=True)
class Recording:
    """The system calls of a complete run, and the disk before it."""

    scene: Scene
    disk: Disk
    calls: Sequence[SystemCall]


async def record(scene: Scene, *, sabotage: str | None = None) -> Recording:
    """Run to the end and record all system calls that change files or send data."""
    disk = Disk(scene.directory)
    log = scene.directory.parent / "strace.log"
    assert await scene.run(trace(log, CALLS, shown_bytes=1 << 20), sabotage=sabotage) == 0
    return Recording(scene, disk, read_log(log))


def check_order(recording: Recording) -> None:
    """Fail if, at any request, its reservation is not on disk, or more than `JOBS` replies are not.

    The disk is checked at every request as if the power were lost then.
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
        assert reserved >= sent, f"call {sent} was sent when {reserved} reservations were on disk"
        assert sent - written <= JOBS, f"call {sent} was sent when {written} lines were on disk"


def _is_request(call: SystemCall) -> bool:
    return call.to_network and call.data.startswith(_POST)


@dataclass(frozen=True, slots=True)
class Cut:
    """A power loss.

    Attributes:
        disk: The directory that it left.
        requests: Number of requests sent before it, by the page's name.
    """

    disk: Path
    requests: Counter[str]


def lose_power(
    recording: Recording, when: Callable[[int, SystemCall], bool], places: Path, rng: random.Random | None
) -> Iterator[Cut]:
    """Yield a power loss at each system call for which `when`, given its number and the call, is true."""
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
    """Restore the disk and the server to the power loss, check the accounts, and run to the end."""
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
    again = Scene(scene.fake, scene.scans, scene.directory, scene.environ)
    again.check_stopped()
    assert await again.run() == 0
    again.check_finished()


async def test_the_replayed_files_equal_the_real_ones(scene: Scene) -> None:
    """So the replay missed no change."""
    recording = await record(scene)
    for _ in replay(recording.disk, recording.calls):
        pass
    real = {path for path in scene.directory.rglob("*") if path.is_file()}
    assert scene.out / "results.jsonl" in real
    for path in real:
        file = recording.disk.find(path)
        assert isinstance(file, File), path
        assert file.content() == path.read_bytes(), path


async def test_at_every_request_its_reservation_and_all_but_8_replies_are_synced(scene: Scene) -> None:
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
async def test_without_syncs_the_check_of_the_order_fails(scene: Scene, sabotage: str, fault: str) -> None:
    """Negative control."""
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
async def test_the_next_run_finishes_after_a_power_loss_at_any_time(
    scene: Scene, tmp_path: Path, seed: int | None
) -> None:
    """No synced page vanishes or is sent again, and the ledger counts every call."""
    rng = random.Random(seed)
    recording = await record(scene)
    calls = list(scene.fake.calls)
    chosen = {rng.randrange(len(recording.calls)) for _ in range(3)}
    for cut in lose_power(recording, lambda number, _: number in chosen, tmp_path / "cuts", rng if seed else None):
        await check_recovery(scene, calls, cut)


async def test_a_line_torn_by_a_power_loss_is_moved_aside(scene: Scene, tmp_path: Path) -> None:
    """The torn line is kept as evidence and its page is sent again; the lines before it stay."""
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


async def test_unsynced_lines_are_lost_in_a_power_loss(scene: Scene, tmp_path: Path) -> None:
    """Negative control: the check fails, because more pages than were in flight have no line."""
    recording = await record(scene, sabotage="sync-nothing")
    calls = list(scene.fake.calls)
    last = len(recording.calls) - 1
    (cut,) = lose_power(recording, lambda number, _: number == last, tmp_path / "cuts", None)
    with pytest.raises(AssertionError, match="pages were sent and have no line"):
        await check_recovery(scene, calls, cut)

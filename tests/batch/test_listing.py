"""The listing beside a run: it opens a file once, and ends in time."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from pipeline.batch import listing as listing_module
from pipeline.batch.files import Files
from pipeline.batch.job import Job, resolve_job
from pipeline.batch.listing import Listing, add_ignored
from pipeline.batch.triage import Triage
from pipeline.config import Config, InputConfig
from pipeline.errors import InterruptedRunError, NoDescriptorsError, QuotaExhaustedError, StorageError
from pipeline.inputs.resolve import resolve_inputs
from pipeline.inputs.source import NameBatch
from pipeline.records import FileStat, SourceFile, State
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from tests.descriptors import no_descriptors
from tests.pages import write_page
from tests.virtual_time import run_virtual


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(Index.open(tmp_path)) as opened:
        yield opened


def undecided(path: Path) -> SourceFile:
    """Return a file as the source finds it."""
    stat = path.stat()
    return SourceFile(path.name, path, FileStat(stat.st_size, stat.st_mtime_ns), undecided=True)


def make_listing(scans: Path, index: Index) -> Listing:
    """Return the listing of a folder."""
    return Listing(resolve_inputs([str(scans)], cwd=scans), InputConfig(), index, Triage(index.inventory))


class TestTriage:
    async def test_a_file_is_opened_once_while_it_stays_the_same(self, scans: Path, index: Index) -> None:
        """A nightly run over a million unchanged files opens none."""
        (scans / "book.djvu").write_bytes(b"AT&TFORM")
        write_page(scans / "a.png", 1).rename(scans / "page")
        found = [undecided(scans / name) for name in ("book.djvu", "page")]
        assert [await Triage(index.inventory).ignored_kind(file) for file in found] == [".djvu", None]
        for file in found:
            assert file.path is not None
            file.path.unlink()
        assert [await Triage(index.inventory).ignored_kind(file) for file in found] == [".djvu", None]

    async def test_a_changed_file_is_opened_again(self, scans: Path, index: Index) -> None:
        (scans / "page").write_bytes(b"AT&TFORM")
        assert await Triage(index.inventory).ignored_kind(undecided(scans / "page")) == ".djvu"
        write_page(scans / "a.png", 1).replace(scans / "page")
        assert await Triage(index.inventory).ignored_kind(undecided(scans / "page")) is None

    async def test_a_file_that_its_name_decides_about_is_not_opened(self, scans: Path, index: Index) -> None:
        gone = SourceFile("a.png", scans / "a.png", FileStat(1, 1))
        assert await Triage(index.inventory).ignored_kind(gone) is None

    async def test_a_file_that_cannot_be_read_is_asked_again(self, scans: Path, index: Index) -> None:
        gone = SourceFile("a", scans / "a", FileStat(1, 1), undecided=True)
        assert await Triage(index.inventory).ignored_kind(gone) == "unreadable"
        assert index.inventory.kind_of(gone) is None

    async def test_without_a_file_descriptor_no_file_is_blamed(self, scans: Path, index: Index) -> None:
        (scans / "a").write_bytes(b"AT&TFORM")
        file = undecided(scans / "a")
        await anyio.to_thread.run_sync(str)  # starts the worker thread, which needs a descriptor
        with no_descriptors(), pytest.raises(NoDescriptorsError):
            await Triage(index.inventory).ignored_kind(file)
        assert index.inventory.kind_of(file) is None


class TestListing:
    async def test_pages_become_pending_and_other_files_are_counted(self, scans: Path, index: Index) -> None:
        for seed in range(3):
            write_page(scans / f"{seed}.png", seed)
        write_page(scans / "b.png", 9).rename(scans / "page")
        (scans / "book.djvu").write_bytes(b"AT&TFORM")
        (scans / "notes.txt").touch()
        listing = make_listing(scans, index)
        assert listing.total() is None
        await listing.run()
        assert (listing.is_complete, listing.total(), index.count_pages().totals[State.PENDING]) == (True, 4, 4)
        assert listing.ignored == {".djvu": 1, ".txt": 1}

    async def test_what_is_listed_is_committed(self, scans: Path, tmp_path: Path, index: Index) -> None:
        """`status` reads it while the run goes on."""
        write_page(scans / "a.png", 1)
        await make_listing(scans, index).run()
        with closing(Index.open_read_only(tmp_path)) as reader:
            assert reader.count_pages().totals[State.PENDING] == 1

    async def test_stdin_cannot_be_listed_to_its_end(self, scans: Path, index: Index) -> None:
        write_page(scans / "a.png", 1)
        listing = Listing(resolve_inputs([str(scans), "-"], cwd=scans), InputConfig(), index, Triage(index.inventory))
        await listing.run()
        assert (listing.is_complete, listing.pages) == (False, 1)

    async def test_a_failing_index_ends_the_listing(
        self, scans: Path, index: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The run meets the error, too, and ends with it."""

        def fail(*_: object) -> None:
            raise StorageError("disk full")

        monkeypatch.setattr(index.inventory, "mark_pending", fail)
        write_page(scans / "a.png", 1)
        listing = make_listing(scans, index)
        await listing.run()
        assert not listing.is_complete


class TestWait:
    """On virtual time; each batch of names takes a second."""

    def wait(self, monkeypatch: pytest.MonkeyPatch, index: Index, shutdown: Shutdown, *, batches: int) -> float:
        """Return after how many seconds the wait for a listing ends."""

        async def list_slowly(*_: object) -> AsyncGenerator[NameBatch, None]:
            for number in range(batches):
                await anyio.sleep(1)
                yield NameBatch([f"{number}.png"])
            await anyio.sleep(10_000)  # a dead network mount

        async def run_here(function: object, *arguments: object, **_: object) -> object:
            return function(*arguments)  # type: ignore[operator]

        async def main() -> float:
            listing = make_listing(Path("/"), index)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listing.run)
                await listing.wait(shutdown)
                tasks.cancel_scope.cancel()
            return anyio.current_time()

        monkeypatch.setattr(listing_module, "list_names", list_slowly)
        monkeypatch.setattr(anyio.to_thread, "run_sync", run_here)
        return run_virtual(main())

    def test_a_signal_is_obeyed_within_two_seconds(self, monkeypatch: pytest.MonkeyPatch, index: Index) -> None:
        shutdown = Shutdown()
        shutdown.request(InterruptedRunError("ended", exit_code=130))
        assert 2 <= self.wait(monkeypatch, index, shutdown, batches=1000) <= 2.2

    def test_otherwise_the_listing_ends_while_it_makes_progress(
        self, monkeypatch: pytest.MonkeyPatch, index: Index
    ) -> None:
        """A used-up quota leaves the whole night; a mount that does not answer is left after ten seconds."""
        shutdown = Shutdown()
        shutdown.request(QuotaExhaustedError("used up"))
        assert 110 <= self.wait(monkeypatch, index, shutdown, batches=100) <= 110.2


async def test_no_call_is_needed_when_no_file_is_a_page(scans: Path, index: Index) -> None:
    """So the engine is not started for a folder of DjVus."""
    (scans / "book.djvu").write_bytes(b"AT&TFORM")
    (scans / "notes.txt").touch()
    job = resolve_job(Job(scans, scans.parent / "out", config=Config()), {})
    inputs, triage = resolve_inputs([str(scans)], cwd=scans), Triage(index.inventory)
    assert not await Files(job, inputs, index).need_calls(triage)
    write_page(scans / "a.png", 1).rename(scans / "page")
    assert await Files(job, inputs, index).need_calls(triage)
    stdin = replace(inputs, items=resolve_inputs(["-"], cwd=scans).items)
    assert await Files(job, stdin, index).need_calls(triage)


def test_too_many_kinds_are_counted_together() -> None:
    """A program may give each file a suffix of its own."""
    counts: Counter[str] = Counter()
    for number in range(1000):
        add_ignored(counts, f".k{number}")
    add_ignored(counts, ".k1", 5)
    assert (len(counts), counts[".k1"], counts["other"], counts.total()) == (101, 6, 900, 1005)

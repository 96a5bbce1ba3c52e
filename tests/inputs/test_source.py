"""The source on real files: which files it finds under which names, and when it yields them."""

import io
import os
import shutil
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from glob import iglob
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import anyio
import pytest

from pipeline.config import InputConfig
from pipeline.errors import (
    BadManifestEntryError,
    MissingFileError,
    NoDescriptorsError,
    UnreadableFileError,
    UsageError,
)
from pipeline.inputs import directory, source
from pipeline.inputs.resolve import BLOCK_BYTES, resolve_inputs
from pipeline.inputs.selection import Input, Inputs
from pipeline.inputs.source import list_names
from pipeline.records import IgnoredFiles, SourceFile
from tests.descriptors import no_descriptors
from tests.report.review_pages import build, page_record, write_review

STAT = os.stat("/dev/null")  # noqa: PTH116 - Path.stat is replaced with it


def make(root: Path, *names: str) -> None:
    """Create files of one byte."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


async def walk(
    inputs: Inputs, config: InputConfig | None = None, stdin: BinaryIO | None = None, *, null_separated: bool = False
) -> AsyncGenerator[SourceFile, None]:
    """Yield the files that are or may be pages."""
    config = config or InputConfig()
    async with aclosing(source.walk(inputs, config, stdin=stdin, null_separated=null_separated)) as items:
        async for item in items:
            if isinstance(item, SourceFile):
                yield item


async def collect(
    cwd: Path,
    *inputs: str,
    config: InputConfig | None = None,
    stdin: BinaryIO | bytes | None = None,
    null_separated: bool = False,
) -> list[SourceFile]:
    """Walk to the end; check that the listing by name says the same, except of stdin."""
    config = config or InputConfig()
    resolved = resolve_inputs(inputs, cwd=cwd, column=config.column)
    stream = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
    items = [item async for item in source.walk(resolved, config, stdin=stream, null_separated=null_separated)]
    files = [item for item in items if isinstance(item, SourceFile)]
    if "-" not in inputs:
        batches = [batch async for batch in list_names(resolved, config)]
        listed = [
            *chain(*(batch.names for batch in batches)),
            *(file.name for batch in batches for file in batch.files),
        ]
        assert sorted(listed, key=repr) == sorted((file.name for file in files), key=repr)
        assert sum((Counter(batch.ignored) for batch in batches), Counter[str]()) == ignored_in(items)
    return files


def ignored_in(items: Iterable[SourceFile | IgnoredFiles]) -> Counter[str]:
    """Return the number of ignored files by kind."""
    counts: Counter[str] = Counter()
    for item in items:
        if isinstance(item, IgnoredFiles):
            counts[item.kind] += item.number
    return counts


async def ignored(cwd: Path, *inputs: str, **config: object) -> dict[str, int]:
    """Return the number of ignored files by kind."""
    resolved, settings = resolve_inputs(inputs, cwd=cwd), InputConfig(**config)  # type: ignore[arg-type]
    return dict(ignored_in([item async for item in source.walk(resolved, settings, stdin=None, null_separated=False)]))


async def names(cwd: Path, *inputs: str, **config: object) -> list[str]:
    """Return the names of the files found; none may have a problem."""
    files = await collect(cwd, *inputs, config=InputConfig(**config))  # type: ignore[arg-type]
    assert not [file for file in files if file.problem]
    return [file.name for file in files]


def problems(files: list[SourceFile]) -> list[tuple[str, type[BaseException], str]]:
    """Return name, class and message of each problem."""
    return [(file.name, type(file.problem), str(file.problem)) for file in files if file.problem]


class TestDirectories:
    async def test_a_directory_is_listed_in_byte_order_files_first(self, tmp_path: Path) -> None:
        make(
            tmp_path,
            "b/1.png",
            "b/a/2.PNG",
            "a.tif",
            "Z.jpg",
            "ä.png",
            "\U00010000.png",
            "\uffff.png",
            "a/3.gif",
            "\udcff.png",
        )
        assert await names(tmp_path, ".") == [
            "Z.jpg", "a.tif", "ä.png", "\uffff.png", "\U00010000.png", "\udcff.png", "a/3.gif", "b/1.png", "b/a/2.PNG",
        ]  # fmt: skip

    async def test_hidden_files_and_other_suffixes_are_no_pages(self, tmp_path: Path) -> None:
        make(tmp_path, ".a.png", ".git/b.png", "c.xml", "Thumbs.db", "d.png")
        assert await names(tmp_path, ".") == ["d.png"]

    async def test_a_file_has_its_size_and_modification_time(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"12345")
        os.utime(tmp_path / "a.png", ns=(1, 1_234_567_890_123_456_789))
        (file,) = await collect(tmp_path, ".")
        assert file.path == tmp_path / "a.png"
        assert file.stat is not None
        assert (file.stat.size_bytes, file.stat.mtime_ns) == (5, 1_234_567_890_123_456_789)

    async def test_include_decides_and_exclude_wins_and_excludes_directories(self, tmp_path: Path) -> None:
        """Both are matched with the source name."""
        make(tmp_path, "a/1.jp2", "a/2.png", "drafts/3.jp2", "a/b/4.jp2", "a/b/5.jp2")
        found = await names(tmp_path, ".", include=("*.jp2",), exclude=("drafts", "a/**/5.*"))
        assert found == ["a/1.jp2", "a/b/4.jp2"]
        assert await names(tmp_path, "a", "drafts", exclude=("a/b/",), include=("*.jp2",)) == [
            "a/1.jp2",
            "drafts/3.jp2",
        ]

    async def test_an_excluded_directory_is_not_listed(self, tmp_path: Path) -> None:
        """So it does not matter whether it can be listed."""
        deep = tmp_path / "bad"
        make(tmp_path, "a.png", "bad/b.png")
        resolved = resolve_inputs(["."], cwd=tmp_path)
        async with aclosing(walk(resolved, InputConfig(exclude=("bad",)))) as files:
            assert (await anext(files)).name == "a.png"
            shutil.rmtree(deep)
            assert [file async for file in files] == []

    async def test_unusual_names_are_kept(self, tmp_path: Path) -> None:
        """Newlines, leading dashes, and bytes that are not UTF-8 (as surrogate escapes)."""
        make(tmp_path, "\udcff\udcfe.png", "a\nb.png", "-n.png", " .png", "*.png")
        assert b"\xff\xfe.png" in os.listdir(os.fsencode(tmp_path))  # noqa: PTH208 - a Path has no bytes
        files = await collect(tmp_path, ".")
        assert [file.name for file in files] == [" .png", "*.png", "-n.png", "a\nb.png", "\udcff\udcfe.png"]
        assert all(file.path is not None and file.path.read_bytes() == b"x" for file in files)

    async def test_only_regular_files_are_opened(self, tmp_path: Path) -> None:
        """Opening a FIFO would block. In a directory it is ignored; one that is named is a failed page."""
        os.mkfifo(tmp_path / "a.png")
        make(tmp_path, "b.png")
        (tmp_path / "list.txt").write_text("a.png\n.\n")
        assert await names(tmp_path, ".") == ["b.png"]
        assert problems(await collect(tmp_path, "a.png", "list.txt", "/dev/zero")) == [
            (f"{tmp_path}/a.png".removeprefix("/"), UnreadableFileError, "not a regular file"),
            (f"{tmp_path}/a.png".removeprefix("/"), UnreadableFileError, "not a regular file"),
            (f"{tmp_path}".removeprefix("/"), UnreadableFileError, "a directory, not a file"),
            ("dev/zero", UnreadableFileError, "not a regular file"),
        ]

    async def test_a_vanished_directory_is_one_failed_page(self, tmp_path: Path) -> None:
        """The walk continues after it."""
        make(tmp_path, "a/1.png", "b/2.png", "c/3.png")
        resolved = resolve_inputs(["."], cwd=tmp_path)
        files = walk(resolved)
        found = [await anext(files)]
        shutil.rmtree(tmp_path / "b")
        found += [file async for file in files]
        assert [file.name for file in found] == ["a/1.png", "b", "c/3.png"]
        assert problems(found) == [("b", UnreadableFileError, "cannot list the directory: No such file or directory")]

    async def test_a_directory_without_permission_is_one_failed_page(self, as_nobody: Path) -> None:
        make(as_nobody, "a/1.png", "b/2.png", "c.png")
        (as_nobody / "a").chmod(0)
        files = await collect(as_nobody, ".")
        (as_nobody / "a").chmod(0o700)
        assert [file.name for file in files] == ["c.png", "a", "b/2.png"]
        assert problems(files) == [("a", UnreadableFileError, "cannot list the directory: Permission denied")]

    async def test_a_file_that_vanishes_during_the_walk_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(source, "STATS_PER_HOP", 1)
        make(tmp_path, "a.png", "b.png")
        files = walk(resolve_inputs(["."], cwd=tmp_path))
        found = [await anext(files)]
        (tmp_path / "b.png").unlink()
        found += [file async for file in files]
        assert problems(found) == [("b.png", MissingFileError, "no such file")]


class TestLinks:
    async def test_links_are_not_followed_unless_asked(self, tmp_path: Path) -> None:
        """Except a link given as INPUT."""
        make(tmp_path, "in/a.png", "out/b.png")
        (tmp_path / "in/file.png").symlink_to(tmp_path / "out/b.png")
        (tmp_path / "in/folder").symlink_to(tmp_path / "out")
        assert await names(tmp_path, "in") == ["a.png"]
        assert await names(tmp_path, "in", follow_symlinks=True) == ["a.png", "file.png", "folder/b.png"]
        assert await names(tmp_path, "in/folder") == ["b.png"]

    async def test_a_loop_of_links_ends(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/1.png")
        (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
        (tmp_path / "a/b/self").symlink_to(tmp_path / "a/b")
        (tmp_path / "a/again").symlink_to(tmp_path / "a/b")
        assert await names(tmp_path, ".", follow_symlinks=True) == ["a/again/1.png", "a/b/1.png"]

    async def test_a_link_to_nothing_is_a_missing_page(self, tmp_path: Path) -> None:
        """When links are followed; a link to a device is not a page."""
        (tmp_path / "a.png").symlink_to("gone.png")
        (tmp_path / "b.png").symlink_to("b.png")
        (tmp_path / "c.png").symlink_to("/dev/null")
        files = await collect(tmp_path, ".", config=InputConfig(follow_symlinks=True))
        assert problems(files) == [
            ("a.png", MissingFileError, "no such file"),
            ("b.png", UnreadableFileError, "Too many levels of symbolic links"),
        ]

    async def test_links_that_are_not_followed_are_counted(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.png", "out/b.png")
        (tmp_path / "in/file.png").symlink_to(tmp_path / "out/b.png")
        (tmp_path / "in/folder").symlink_to(tmp_path / "out")
        (tmp_path / "in/broken.png").symlink_to("gone.png")
        assert await ignored(tmp_path, "in") == {"symlink": 3}
        assert await ignored(tmp_path, "in/f*") == {"symlink": 1}
        assert await ignored(tmp_path, "in", include=("*.png",)) == {"symlink": 3}
        assert await ignored(tmp_path, "in", exclude=("fold*",)) == {"symlink": 2}

    async def test_a_followed_link_that_is_no_page_is_counted(self, tmp_path: Path) -> None:
        """One that leads nowhere and whose name is no page's, one to a folder above it, one to a device."""
        make(tmp_path, "a/1.png")
        (tmp_path / "a/latest").symlink_to("gone")
        (tmp_path / "a/up").symlink_to("..")
        (tmp_path / "a/null.png").symlink_to("/dev/null")
        assert await ignored(tmp_path, ".", follow_symlinks=True) == {"symlink": 2, "special file": 1}


class TestIgnored:
    """What is not a page is counted by kind."""

    async def test_known_suffixes_are_counted_unopened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(tmp_path, "a.png", "b.txt", "c/d.TXT", "c/e.docx", "f.mp3")
        monkeypatch.setattr(
            Path, "stat", lambda path: pytest.fail(f"stat of {path}") if path.suffix != ".png" else STAT
        )
        resolved = Inputs(tmp_path, (Input(".", "directory", str(tmp_path), str(tmp_path)),))
        items = [item async for item in source.walk(resolved, InputConfig(), stdin=None, null_separated=False)]
        assert ignored_in(items) == {".txt": 2, ".docx": 1, ".mp3": 1}

    async def test_other_files_are_undecided(self, tmp_path: Path) -> None:
        """Their first bytes decide; with `include`, or a pattern that names their suffix, the name does."""
        make(tmp_path, "a.png", "b", "c.dat", "d.djvu")
        assert [(file.name, file.undecided) for file in await collect(tmp_path, ".")] == [
            ("a.png", False),
            ("b", True),
            ("c.dat", True),
            ("d.djvu", True),
        ]
        included = await collect(tmp_path, ".", config=InputConfig(include=("*.dat",)))
        assert [(file.name, file.undecided) for file in included] == [("c.dat", False)]
        assert [file.undecided for file in await collect(tmp_path, "*.djvu")] == [False]
        (tmp_path / "b").write_bytes(b"\0")
        assert [file.undecided for file in await collect(tmp_path, "b")] == [False]

    async def test_files_that_the_user_leaves_out_are_not_counted(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", "b.txt", "c.pdf", ".hidden.txt")
        assert await ignored(tmp_path, ".", exclude=("*.txt",)) == {}
        assert await ignored(tmp_path, ".", include=("*.png",)) == {}
        assert await ignored(tmp_path, "*.png") == {}

    async def test_the_pictures_of_a_report_are_no_pages(self, tmp_path: Path) -> None:
        (tmp_path / "scans").mkdir()
        write_review(tmp_path, [page_record("a.png", ["a"])])
        make(tmp_path, "scans/a.png")
        for folder in ("scans/review", "scans/box/review"):
            build(tmp_path / "out", tmp_path / folder, "copy")
        assert [file.name for file in await collect(tmp_path, "scans")] == ["a.png"]
        assert [file.name for file in await collect(tmp_path, "scans/**/*.png")] == ["a.png"]
        assert (await ignored(tmp_path, "scans"))["pagemill output"] == 2

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("@eaDir", id="synology"),
            pytest.param("#recycle", id="synology-deleted"),
            pytest.param("@Recycle", id="qnap-deleted"),
            pytest.param("$RECYCLE.BIN", id="windows-deleted"),
            pytest.param("$Recycle.Bin", id="windows-deleted-in-another-case"),
            pytest.param("System Volume Information", id="windows"),
            pytest.param("lost+found", id="ext4"),
            pytest.param("__MACOSX", id="macos"),
        ],
    )
    async def test_system_folders_are_left_out_at_any_depth(self, tmp_path: Path, name: str) -> None:
        """A NAS keeps a thumbnail of each page there; the folder that is given as INPUT itself is walked."""
        make(tmp_path, f"{name}/a.png", f"b/{name}/c/d.png", "b/e.png", f"b/x{name}/f.png")
        assert sorted(await names(tmp_path, ".")) == sorted(["b/e.png", f"b/x{name}/f.png"])
        assert await ignored(tmp_path, ".") == {"system folder": 2}
        assert await names(tmp_path, name) == ["a.png"]

    async def test_special_files_are_counted(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.png")
        make(tmp_path, "b.png")
        assert await ignored(tmp_path, ".") == {"special file": 1}

    async def test_the_runs_own_workspace_is_not_walked(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", "out/replies/b.png", "out/results.jsonl", "c/out/d.png")
        resolved = resolve_inputs(["."], cwd=tmp_path, workspace=tmp_path / "out")
        items = [item async for item in source.walk(resolved, InputConfig(), stdin=None, null_separated=False)]
        assert [item.name for item in items if isinstance(item, SourceFile)] == ["a.png", "c/out/d.png"]
        assert ignored_in(items) == {}

    async def test_an_input_that_was_set_aside_is_counted(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", "@eaDir/b.png")
        (tmp_path / "notes.txt").write_text("buy milk\n")
        assert await ignored(tmp_path, "a.png", "notes.txt", "@eaDir") == {".txt": 1, "system folder": 1}

    async def test_a_directory_of_many_kinds_is_listed_once_for_each(self, tmp_path: Path) -> None:
        """A million ignored files are not a million items."""
        make(tmp_path, *(f"{i}.txt" for i in range(300)), *(f"{i}.log" for i in range(300)))
        resolved = resolve_inputs(["."], cwd=tmp_path)
        items = [item async for item in source.walk(resolved, InputConfig(), stdin=None, null_separated=False)]
        assert len(items) == 2

    async def test_without_a_file_descriptor_no_directory_fails(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b.png")
        resolved = resolve_inputs(["."], cwd=tmp_path)
        await anyio.to_thread.run_sync(str)  # starts the worker thread, which needs a descriptor
        with no_descriptors(), pytest.raises(NoDescriptorsError):
            await anext(walk(resolved))


class SlowToClose(io.BytesIO):
    """A manifest on a network mount that does not answer a close until `release` is set."""

    def __init__(self) -> None:
        super().__init__(b"a.png\n" * BLOCK_BYTES)
        self.release, self.ended = threading.Event(), threading.Event()

    def close(self) -> None:
        self.release.wait(30)
        super().close()
        self.ended.set()


class TestLaziness:
    """The stream starts at once, and can be left at any time."""

    async def test_the_first_file_comes_before_the_walk_ends(self, tmp_path: Path) -> None:
        """A file created during the walk, in a directory not listed yet, is found."""
        make(tmp_path, "a/1.png", "b/2.png")
        async with aclosing(walk(resolve_inputs(["."], cwd=tmp_path))) as files:
            assert (await anext(files)).name == "a/1.png"
            make(tmp_path, "b/late.png")
            assert [file.name async for file in files] == ["b/2.png", "b/late.png"]

    async def test_a_long_manifest_is_not_read_in_advance(self, tmp_path: Path) -> None:
        """Only its first block has been read when the first file is yielded."""
        path = tmp_path / "list.txt"
        path.write_text("a.png\n" * 100_000)
        async with aclosing(walk(resolve_inputs([str(path)], cwd=tmp_path))) as files:
            await anext(files)
            path.write_text("")
            rest = [file async for file in files]
        assert len(rest) < 2 * BLOCK_BYTES / len("a.png\n")

    async def test_paths_on_a_pipe_are_pages_as_they_come(self, tmp_path: Path) -> None:
        """The writer need not close the pipe; cancelling while the pipe is empty does not hang."""
        make(tmp_path, "a.png")
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as stdin, os.fdopen(writer, "wb", 0) as pipe:
            pipe.write(b"a.png\nb")
            async with aclosing(walk(resolve_inputs(["-"], cwd=tmp_path), stdin=stdin)) as files:
                assert (await anext(files)).name == "a.png"
                with anyio.move_on_after(0.05) as scope:
                    await anext(files)
                assert scope.cancelled_caught

    async def test_a_cancelled_walk_leaves_no_open_file_or_task(self, tmp_path: Path) -> None:
        """An open file or task would cause a warning, and warnings are errors."""
        (tmp_path / "list.txt").write_text("a.png\n" * 1000)
        make(tmp_path, "a.png", *(f"{i}/{i}.png" for i in range(20)))
        async with anyio.create_task_group() as group:

            async def leave_early() -> None:
                inputs = resolve_inputs([".", "list.txt"], cwd=tmp_path)
                async with aclosing(walk(inputs)) as files:
                    async for file in files:
                        if file.name == "a.png":
                            group.cancel_scope.cancel()
                        await anyio.lowlevel.checkpoint()

            group.start_soon(leave_early)
        assert group.cancel_scope.cancelled_caught

    @pytest.mark.parametrize(
        ("module", "step"),
        [pytest.param(directory, "_list_directory", id="listing"), pytest.param(source, "to_source_file", id="stat")],
    )
    async def test_a_walk_that_hangs_on_a_dead_mount_can_be_cancelled(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
    ) -> None:
        make(tmp_path, "a.png")
        begun, release = threading.Event(), threading.Event()

        def hang(*_: object, **__: object) -> None:
            begun.set()
            release.wait()

        inputs = resolve_inputs(["."], cwd=tmp_path)
        monkeypatch.setattr(module, step, hang)
        async with anyio.create_task_group() as group:

            async def read_first() -> None:
                async with aclosing(walk(inputs)) as files:
                    await anext(files)

            group.start_soon(read_first)
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
        release.set()

    async def test_a_manifest_whose_read_never_returns_can_be_cancelled(self, tmp_path: Path) -> None:
        """A FIFO without a writer stands for the dead mount."""
        manifest = tmp_path / "list.txt"
        manifest.write_text("a.png\n")
        make(tmp_path, "a.png")
        inputs = resolve_inputs(["list.txt"], cwd=tmp_path)
        manifest.unlink()
        os.mkfifo(manifest)
        async with anyio.create_task_group() as group:

            async def read_first() -> None:
                async with aclosing(walk(inputs)) as files:
                    await anext(files)

            group.start_soon(read_first)
            writer = await anyio.to_thread.run_sync(manifest.open, "wb")  # returns when the reader is there
            release = threading.Timer(30, writer.close)  # ends the test, which then fails, when the walk waits
            release.start()
            group.cancel_scope.cancel()
        assert not writer.closed
        release.cancel()
        writer.close()

    @pytest.mark.parametrize("cancel", [pytest.param(True, id="cancelled"), pytest.param(False, id="left")])
    async def test_a_manifest_whose_close_never_returns_can_be_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cancel: bool
    ) -> None:
        """A thread of its own closes it, even when the thread pool is exhausted."""
        make(tmp_path, "a.png")
        (tmp_path / "list.txt").write_text("a.png\n")
        inputs = resolve_inputs(["list.txt"], cwd=tmp_path)
        manifest = SlowToClose()
        monkeypatch.setattr(Path, "open", lambda *_: manifest)
        with anyio.CancelScope() as scope:
            async with aclosing(walk(inputs)) as files:
                await anext(files)
                limiter = anyio.to_thread.current_default_thread_limiter()
                monkeypatch.setattr(limiter, "total_tokens", 0)
                if cancel:
                    scope.cancel()
        assert not manifest.closed
        monkeypatch.undo()
        manifest.release.set()
        await anyio.to_thread.run_sync(manifest.ended.wait)

    async def test_a_stream_without_a_descriptor_is_read_too(self, tmp_path: Path) -> None:
        """Tests and notebooks use in-memory streams; regular files as stdin never block."""
        make(tmp_path, "a.png")
        (tmp_path / "list").write_bytes(b"a.png\n")
        assert [file.name for file in await collect(tmp_path, "-", stdin=b"a.png")] == ["a.png"]
        with (tmp_path / "list").open("rb") as stdin:
            assert [file.name for file in await collect(tmp_path, "-", stdin=stdin)] == ["a.png"]
        (tmp_path / "null").symlink_to("/dev/null")
        with (tmp_path / "null").open("rb") as stdin:
            assert await collect(tmp_path, "-", stdin=stdin) == []


class TestManifests:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("list.txt", "sub/a.png\nhttps://e.org/1.png\ngone.png\n\0\n"),
            ("list.CSV", "Title,File\nx,sub/a.png\nx,https://e.org/1.png\nx,gone.png\nx,\n"),
            ("list.tsv", "image\ttitle\nsub/a.png\tx\nhttps://e.org/1.png\tx\ngone.png\tx\n\tx"),
            ("list.jsonl", '{"path":"sub/a.png"}\n{"url":"https://e.org/1.png"}\n{"path":"gone.png"}\n{}\n'),
        ],
    )
    async def test_a_broken_row_costs_one_page(self, tmp_path: Path, name: str, text: str) -> None:
        """Paths are relative to the manifest, whatever the working directory."""
        make(tmp_path, "m/sub/a.png")
        (tmp_path / "m" / name).write_text("\ufeff" + text.replace("\n", "\r\n"))
        files = await collect(Path("/"), str(tmp_path / "m" / name))
        line = text.rstrip("\n").count("\n") + 1
        assert [file.name for file in files] == ["sub/a.png", "https://e.org/1.png", "gone.png", f"{name}:{line}"]
        assert [file.is_url for file in files] == [False, True, False, False]
        assert [type(file.problem) for file in files[2:]] == [MissingFileError, BadManifestEntryError]
        assert files[0].path == tmp_path / "m/sub/a.png"

    async def test_further_fields_of_a_row_are_kept(self, tmp_path: Path) -> None:
        """Failed pages keep them, too."""
        make(tmp_path, "a.png")
        (tmp_path / "list.jsonl").write_text('{"path":"a.png","n":[1]}\n{"path":"gone","n":2}\n{"path":"","n":3}\n')
        files = await collect(tmp_path, "list.jsonl", config=InputConfig(exclude=("*",)))
        assert [file.meta for file in files[:2]] == [{"n": [1]}, {"n": 2}]

    async def test_a_manifest_of_many_blocks_is_complete(self, tmp_path: Path) -> None:
        make(tmp_path, *(f"{i}.png" for i in range(3)))
        (tmp_path / "list.txt").write_text("".join(f"{i % 3}.png\n" for i in range(50_000)))
        files = await collect(tmp_path, "list.txt")
        assert [file.name for file in files] == [f"{i % 3}.png" for i in range(50_000)]

    @pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
    def test_a_table_without_a_page_column_is_a_usage_error_at_once(self, tmp_path: Path, name: str) -> None:
        """Before any call."""
        (tmp_path / name).write_text("title,name\na,b\n")
        with pytest.raises(UsageError, match=rf"{name}: no column"):
            resolve_inputs([name], cwd=tmp_path)

    async def test_a_manifest_that_vanishes_ends_the_run(self, tmp_path: Path) -> None:
        """Its pages are unknown, so they cannot be accounted for."""
        make(tmp_path, "a.png")
        (tmp_path / "list.txt").write_text("a.png\n")
        inputs = resolve_inputs(["list.txt"], cwd=tmp_path)
        (tmp_path / "list.txt").unlink()
        with pytest.raises(UsageError, match=r"list\.txt: No such file"):
            [file async for file in walk(inputs)]

    async def test_null_separated_stdin_keeps_any_name(self, tmp_path: Path) -> None:
        """As `find -print0` prints them, relative to the working directory."""
        make(tmp_path, "a\nb.png", "\udcff.png")
        found = await collect(tmp_path, "-", stdin=b"a\nb.png\0./\xff.png\0gone\0", null_separated=True)
        assert [file.name for file in found] == ["a\nb.png", "\udcff.png", "gone"]
        assert problems(found) == [("gone", MissingFileError, "no such file")]

    async def test_spaces_around_a_name_are_dropped_unless_the_file_has_them(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", " b.png", "b.png")
        (tmp_path / "list.csv").write_text("path,n\n a.png ,1\n b.png,2\n c.png,3\n")
        files = await collect(tmp_path, "list.csv")
        assert [(file.name, file.meta) for file in files] == [
            ("a.png", {"n": "1"}),
            (" b.png", {"n": "2"}),
            (" c.png", {"n": "3"}),
        ]
        assert problems(files) == [(" c.png", MissingFileError, "no such file")]

    async def test_a_comment_in_a_list_is_counted(self, tmp_path: Path) -> None:
        """A file of that name precedes."""
        make(tmp_path, "a.png", "#b.png")
        (tmp_path / "list.txt").write_text("# May\na.png\n#b.png\n#c.png\n")
        assert [file.name for file in await collect(tmp_path, "list.txt")] == ["a.png", "#b.png"]
        assert await ignored(tmp_path, "list.txt") == {"comment": 2}

    async def test_the_given_column_names_the_pages(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png")
        (tmp_path / "list.csv").write_text("path,scan\nx,a.png\n")
        (file,) = await collect(tmp_path, "list.csv", config=InputConfig(column="Scan"))
        assert (file.name, file.meta, file.problem) == ("a.png", {"path": "x"}, None)

    async def test_a_file_url_is_the_page_that_its_path_is(self, tmp_path: Path) -> None:
        make(tmp_path, "a b.png")
        (tmp_path / "list.txt").write_text(f"a b.png\nfile://{tmp_path}/a%20b.png\n")
        assert [file.name for file in await collect(tmp_path, "list.txt")] == ["a b.png"] * 2


class TestGlobs:
    """Patterns that the shell did not expand."""

    @pytest.mark.parametrize("pattern", ["*.png", "*/*.png", "**/*.png", "a/**/*.png", "[ab]/?.png", "**/b/**/*.png"])
    async def test_a_glob_matches_the_files_that_python_finds(self, tmp_path: Path, pattern: str) -> None:
        make(tmp_path, "1.png", "a/1.png", "a/b/2.png", "a/b/c/d/3.png", "b/22.png", "c/b/.h/1.png", "c/.h.png")
        found = resolve_inputs([pattern], cwd=tmp_path)
        files = [file async for file in walk(found)]
        expected = iglob(pattern, root_dir=tmp_path, recursive=True)  # noqa: PTH207 - it follows no other library
        assert {str(file.path) for file in files} == {str(tmp_path / name) for name in expected}

    async def test_a_glob_is_named_from_its_fixed_prefix(self, tmp_path: Path) -> None:
        """Source names are those of the directory given as INPUT; filters apply."""
        make(tmp_path, "s/a/1.png", "s/b/2.png", "s/b/3.xml")
        assert await names(tmp_path, "s/*/*") == await names(tmp_path, "s") == ["a/1.png", "b/2.png"]
        assert await names(tmp_path, "s/*/*", exclude=("a",)) == ["b/2.png"]
        assert await names(tmp_path, "s/*/*.xml") == ["b/3.xml"]

    async def test_a_file_whose_name_is_a_pattern_is_a_file(self, tmp_path: Path) -> None:
        """Brackets in the working directory are no pattern either."""
        make(tmp_path, "v[1]/scan[1].png", "v[1]/scan1.png")
        assert await names(tmp_path / "v[1]", "scan[1].png") == ["scan[1].png"]
        assert await names(tmp_path / "v[1]", "scan?.png") == ["scan1.png"]

    @pytest.mark.parametrize("pattern", ["*.png", "gone/*.png", "a/*/*", "**/*.tif"])
    def test_a_glob_that_matches_nothing_is_a_usage_error(self, tmp_path: Path, pattern: str) -> None:
        """A typing error is more likely than an empty folder."""
        make(tmp_path, "a/1.jpg", "a/b/2.xml")
        with pytest.raises(UsageError, match="matches no image"):
            resolve_inputs([pattern], cwd=tmp_path)


class TestNames:
    @pytest.mark.parametrize(
        ("inputs", "expected"),
        [
            pytest.param(["s"], "a/1.png", id="directory"),
            pytest.param(["./s/"], "a/1.png", id="directory-spelt-otherwise"),
            pytest.param(["s/../s/a/.."], "a/1.png", id="directory-with-dots"),
            pytest.param(["s/**/*.png"], "a/1.png", id="glob"),
            pytest.param(["s/list.txt"], "a/1.png", id="manifest"),
            pytest.param(["s/absolute.txt"], "a/1.png", id="manifest-with-absolute-paths"),
            pytest.param(["s/a/1.png"], "1.png", id="file"),
            pytest.param(["-"], "s/a/1.png", id="stdin"),
            pytest.param(["s/a", "s/b"], "a/1.png", id="several-share-an-ancestor"),
            pytest.param(["s/a", "https://e.org/2.png"], "1.png", id="urls-have-no-directory"),
        ],
    )
    async def test_the_name_is_relative_to_the_input_root(
        self, tmp_path: Path, inputs: list[str], expected: str
    ) -> None:
        """However the file is listed."""
        make(tmp_path, "s/a/1.png")
        (tmp_path / "s/b").mkdir()
        (tmp_path / "s/list.txt").write_text("./a//1.png")
        (tmp_path / "s/absolute.txt").write_text(f"{tmp_path}/s/a/1.png")
        first, *_ = await collect(tmp_path, *inputs, stdin=b"s/a/1.png\n")
        assert (first.name, first.path) == (expected, tmp_path / "s/a/1.png")

    async def test_a_file_outside_the_root_keeps_its_absolute_path(self, tmp_path: Path) -> None:
        """The rows of a manifest may name any file."""
        make(tmp_path, "elsewhere/a.png", "m/x")
        (tmp_path / "m/list.txt").write_text("../elsewhere/a.png")
        assert await names(tmp_path, "m/list.txt") == [f"{tmp_path}/elsewhere/a.png"]

    async def test_links_in_an_input_are_not_resolved(self, tmp_path: Path) -> None:
        """Source names stay the same when the link is moved to another directory."""
        make(tmp_path, "real/a.png")
        (tmp_path / "link").symlink_to("real")
        (file,) = await collect(tmp_path, "link")
        assert (file.name, file.path) == ("a.png", tmp_path / "link/a.png")


class TestInputs:
    """Errors before the first file."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("gone", "gone: no such file or directory"),
            ("a.png/b.png", "a.png/b.png: no such file or directory"),
            ("x" * 300, "x: File name too long"),
            ("d.parquet", "d.parquet: .parquet is not supported yet"),
            ("s3://bucket/x", "s3://bucket/x: s3:// is not supported yet"),
            ("http://", "http://: not a URL"),
        ],
    )
    def test_a_wrong_input_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        make(tmp_path, "a.png", "d.parquet")
        with pytest.raises(UsageError, match=message):
            resolve_inputs(["a.png", text], cwd=tmp_path)

    def test_no_input_is_a_usage_error(self, tmp_path: Path) -> None:
        """The current directory is not a default."""
        with pytest.raises(UsageError, match="no INPUT"):
            resolve_inputs([], cwd=tmp_path)

    @pytest.mark.parametrize("path_of", [lambda root: root / "a" / "1.png", lambda root: root / "a" / "list.txt"])
    def test_an_input_without_permission_is_named(self, as_nobody: Path, path_of: Callable[[Path], Path]) -> None:
        make(as_nobody, "a/1.png", "a/list.txt")
        path = path_of(as_nobody)
        closed = path if path.suffix == ".txt" else path.parent
        closed.chmod(0)
        with pytest.raises(UsageError, match=f"{path.name}: Permission denied"):
            resolve_inputs([str(path)], cwd=as_nobody)
        closed.chmod(0o700)

    async def test_a_missing_stdin_is_a_usage_error(self, tmp_path: Path) -> None:
        """A system service has none."""
        with pytest.raises(UsageError, match="-: there is no standard input"):
            await collect(tmp_path, "-")

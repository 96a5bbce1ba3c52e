"""A workspace filled by real runs, and ways to damage it as a hex editor, a bad merge or an old backup would."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from PIL import Image

from pipeline.workspace.checksums import append_checksum
from pipeline.workspace.paths import INDEX, RESULTS
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import run_here


@dataclass(frozen=True, slots=True)
class TamperedWorkspace:
    """A workspace and its ledger that a test may damage."""

    root: Path

    @property
    def workspace(self) -> Path:
        """The workspace's directory."""
        return self.root / "out"

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return next((self.root / "ledger").glob("*.sqlite3"))

    def copy_to(self, root: Path) -> "TamperedWorkspace":
        """Copy workspace and ledger; the copy's run.json names the copied ledger."""
        shutil.copytree(self.root, root)
        run_file = root / "out" / "run.json"
        run_file.write_bytes(run_file.read_bytes().replace(os.fsencode(self.root), os.fsencode(root)))
        return TamperedWorkspace(root)

    def lines(self, name: str = RESULTS) -> list[bytes]:
        """Return the lines of a file, newlines included."""
        return (self.workspace / name).read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes], name: str = RESULTS) -> None:
        """Replace all lines of a file."""
        (self.workspace / name).write_bytes(b"".join(lines))

    def find(self, source: str, name: str = RESULTS) -> int:
        """Return the 0-based index of the first line of a source."""
        return next(at for at, line in enumerate(self.lines(name)) if orjson.loads(line)["source"] == source)

    def edit(self, at: int, change: Callable[[bytes], bytes], name: str = RESULTS) -> None:
        """Change the bytes of one line."""
        lines = self.lines(name)
        lines[at] = change(lines[at])
        self.rewrite(lines, name)

    def reseal(self, at: int, name: str = RESULTS, **changes: Any) -> None:
        """Change fields of one line and make its checksum correct again."""
        self.edit(at, lambda line: resealed(line, **changes), name)

    def append(self, line: bytes, name: str = RESULTS) -> None:
        """Append a line."""
        with (self.workspace / name).open("ab") as file:
            file.write(line)

    def change_index(self, statement: str, *values: object) -> None:
        """Run an SQL statement on the index; it must change a row."""
        with closing(sqlite3.connect(self.workspace / INDEX)) as db, db:
            assert db.execute(statement, values).rowcount > 0

    def change_ledger(self, statement: str, *values: object) -> None:
        """Run an SQL statement on the ledger; it must change a row."""
        with closing(sqlite3.connect(self.ledger)) as db, db:
            assert db.execute(statement, values).rowcount > 0

    def attempt(self, source: str) -> str:
        """Return the attempt id of a source's first record."""
        (attempt,) = orjson.loads(self.lines()[self.find(source)])["attempts"]
        return str(attempt)

    def change_run_file(self, **changes: Any) -> None:
        """Change fields of run.json."""
        path = self.workspace / "run.json"
        path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))

    def snapshot(self) -> dict[str, bytes]:
        """Return the bytes of every file of workspace and ledger, by path."""
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


def resealed(line: bytes, **changes: Any) -> bytes:
    """Return a line with changed fields and a correct checksum, newline included."""
    fields = orjson.loads(line) | changes
    del fields["crc32"]
    return append_checksum(orjson.dumps(fields))


@contextmanager
def only_readable(root: Path) -> Iterator[None]:
    """Remove the write permission of all files and directories while the context is open."""
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def make_workspace(root: Path) -> TamperedWorkspace:
    """Fill a workspace in four runs with pages in every state.

    It has pages that are done, duplicates, pages of a TIFF, a URL, a name that is not UTF-8 and its duplicate; failures
    of several classes, one of them done later, and an uncertain page; a changed page, and one that changed and changed
    back; a page that is pending because no call was left.
    """
    inputs, failing = [root / "scans", root / "list.txt"], {"flaky.png", "unsure.png"}
    write_scans(root)
    changed, changed_back = root / "scans/page-0005.png", root / "scans/page-0006.png"
    first = changed_back.read_bytes()

    def answer(call: Call) -> web.Response:
        if call.filename in failing:
            return web.json_response({"statusText": "Failed"}, status=500)
        return accept(call)

    async def fill() -> None:
        settings: dict[str, Any] = {"retries": 0, "jobs": 1}
        async with serve_fake(answer) as fake:
            await run_here(inputs, root / "out", fake.url, run=settings)
            shutil.copyfile(root / "out" / INDEX, root / "former-index.sqlite3")
            failing.remove("flaky.png")
            write_page(changed, 70)
            write_page(changed_back, 71)
            write_page(root / "scans/unsure.png", 61)
            await run_here(inputs, root / "out", fake.url, run=settings | {"at_most_once": True})
            changed_back.write_bytes(first)
            await run_here([changed_back], root / "out", fake.url, run=settings)
            write_page(root / "scans/later.png", 80)
            await run_here(inputs, root / "out", fake.url, run=settings | {"max_calls": 0})

    asyncio.run(fill())
    return TamperedWorkspace(root)


def write_scans(root: Path) -> None:
    """Write the files and the manifest of the first run."""
    scans = root / "scans"
    write_pages(scans, 12)
    (scans / "z-copy.png").write_bytes((scans / "page-0003.png").read_bytes())
    not_utf_8 = Path(os.fsdecode(os.fsencode(scans) + b"/caf\xe9.png"))
    write_page(scans / "cafe.png", 50).rename(not_utf_8)
    (scans / "z-cafe.png").write_bytes(not_utf_8.read_bytes())
    frames = [Image.new("RGB", (120, 120), color) for color in ("red", "green", "blue")]
    frames[0].save(scans / "three.tif", save_all=True, append_images=frames[1:])
    (scans / "empty.png").write_bytes(b"")
    (scans / "text.jpg").write_bytes(b"just some text\n")
    write_page(scans / "flaky.png", 60)
    (root / "list.txt").write_bytes(b"missing.png\nhttps://example.org/scan.png\n")

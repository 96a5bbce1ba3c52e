"""A workspace that a real run made, and what can be done to it with a hex editor, a bad merge or an old backup."""

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

from pipeline.workspace.lines import append_checksum
from pipeline.workspace.paths import INDEX, RESULTS
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import run_here


@dataclass(frozen=True, slots=True)
class Planted:
    """A workspace to do harm to, with its ledger beside it."""

    root: Path

    @property
    def workspace(self) -> Path:
        """The workspace."""
        return self.root / "out"

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return next((self.root / "ledger").glob("*.sqlite3"))

    def copy_to(self, root: Path) -> "Planted":
        """Return a copy whose run.json names the copy of the ledger."""
        shutil.copytree(self.root, root)
        run_file = root / "out" / "run.json"
        run_file.write_bytes(run_file.read_bytes().replace(os.fsencode(self.root), os.fsencode(root)))
        return Planted(root)

    def lines(self, name: str = RESULTS) -> list[bytes]:
        """Return the lines of a file, newlines included."""
        return (self.workspace / name).read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes], name: str = RESULTS) -> None:
        """Put other lines in their place."""
        (self.workspace / name).write_bytes(b"".join(lines))

    def find(self, source: str, name: str = RESULTS) -> int:
        """Return at which place, from 0, the first line of a source stands."""
        return next(at for at, line in enumerate(self.lines(name)) if orjson.loads(line)["source"] == source)

    def edit(self, at: int, change: Callable[[bytes], bytes], name: str = RESULTS) -> None:
        """Change the bytes of one line."""
        lines = self.lines(name)
        lines[at] = change(lines[at])
        self.rewrite(lines, name)

    def reseal(self, at: int, name: str = RESULTS, **changes: Any) -> None:
        """Change fields of one line; its checksum is right again."""
        self.edit(at, lambda line: resealed(line, **changes), name)

    def append(self, line: bytes, name: str = RESULTS) -> None:
        """Add a line at the end."""
        with (self.workspace / name).open("ab") as file:
            file.write(line)

    def change_index(self, statement: str, *values: object) -> None:
        """Change the index in SQL."""
        with closing(sqlite3.connect(self.workspace / INDEX)) as db, db:
            assert db.execute(statement, values).rowcount > 0

    def change_ledger(self, statement: str, *values: object) -> None:
        """Change the ledger in SQL."""
        with closing(sqlite3.connect(self.ledger)) as db, db:
            assert db.execute(statement, values).rowcount > 0

    def attempt(self, source: str) -> str:
        """Return the call of a source's first record."""
        return str(orjson.loads(self.lines()[self.find(source)])["attempt"])

    def change_run_file(self, **changes: Any) -> None:
        """Change fields of run.json."""
        path = self.workspace / "run.json"
        path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))

    def snapshot(self) -> dict[str, bytes]:
        """Return the bytes of every file of the workspace and of the ledger's directory."""
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


def resealed(line: bytes, **changes: Any) -> bytes:
    """Return a line with fields changed and the right checksum, newline included."""
    fields = orjson.loads(line) | changes
    del fields["crc32"]
    return append_checksum(orjson.dumps(fields))


@contextmanager
def only_readable(root: Path) -> Iterator[None]:
    """Take the permission to write from all files and directories."""
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def make_workspace(root: Path) -> Planted:
    """Fill a workspace in four runs with pages of every fate.

    Pages that are done, duplicates, pages of a TIFF, a URL, a name that is not UTF-8 and its duplicate; pages that
    failed in several classes, one of them done later, and an uncertain one; a page that changed, and one that changed
    and has its first content back; a page that waits for the next month.
    """
    inputs, broken = [root / "scans", root / "list.txt"], {"flaky.png", "unsure.png"}
    write_scans(root)
    changed, back = root / "scans/page-0005.png", root / "scans/page-0006.png"
    first = back.read_bytes()

    def answer(call: Call) -> web.Response:
        if call.filename in broken:
            return web.json_response({"statusText": "Failed"}, status=500)
        return accept(call)

    async def fill() -> None:
        settings: dict[str, Any] = {"retries": 0, "jobs": 1}
        async with serve_fake(answer) as fake:
            await run_here(inputs, root / "out", fake.url, run=settings)
            shutil.copyfile(root / "out" / INDEX, root / "former-index.sqlite3")
            broken.remove("flaky.png")
            write_page(changed, 70)
            write_page(back, 71)
            write_page(root / "scans/unsure.png", 61)
            await run_here(inputs, root / "out", fake.url, run=settings | {"at_most_once": True})
            back.write_bytes(first)
            await run_here([back], root / "out", fake.url, run=settings)
            write_page(root / "scans/later.png", 80)
            await run_here(inputs, root / "out", fake.url, run=settings | {"max_calls": 0})

    asyncio.run(fill())
    return Planted(root)


def write_scans(root: Path) -> None:
    """Write the pages that the first run finds."""
    scans = root / "scans"
    write_pages(scans, 12)
    (scans / "z-copy.png").write_bytes((scans / "page-0003.png").read_bytes())
    latin = Path(os.fsdecode(os.fsencode(scans) + b"/caf\xe9.png"))
    write_page(scans / "cafe.png", 50).rename(latin)
    (scans / "z-cafe.png").write_bytes(latin.read_bytes())
    frames = [Image.new("RGB", (120, 120), color) for color in ("red", "green", "blue")]
    frames[0].save(scans / "three.tif", save_all=True, append_images=frames[1:])
    (scans / "empty.png").write_bytes(b"")
    (scans / "text.jpg").write_bytes(b"just some text\n")
    write_page(scans / "flaky.png", 60)
    (root / "list.txt").write_bytes(b"missing.png\nhttps://example.org/scan.png\n")

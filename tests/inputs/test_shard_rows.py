"""Shard files: what a walk found, read again elsewhere as it was."""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from pipeline.config import InputConfig
from pipeline.errors import UsageError
from pipeline.inputs.resolve import resolve_inputs
from pipeline.inputs.shard_rows import encode_row, encode_shard, read_shard, read_shard_rows
from pipeline.inputs.source import list_names, walk
from pipeline.records import IgnoredFiles, SourceFile
from tests.archives import write_zip
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.runs import results, run_here


async def find(*texts: str | Path) -> list[SourceFile]:
    """Return the files of INPUTs."""
    inputs = resolve_inputs([str(text) for text in texts], cwd=Path.cwd())
    async with aclosing(walk(inputs, InputConfig(), stdin=None, null_separated=False)) as files:
        return [file async for file in files if not isinstance(file, IgnoredFiles)]


def same(one: SourceFile, two: SourceFile) -> bool:
    """Return whether two files are equal; errors are by class and message."""
    return repr(one) == repr(two)


async def test_files_of_every_kind_are_read_as_they_were_found(scans: Path, tmp_path: Path) -> None:
    for name in ("a.png", "sub/ b.png", b"caf\xe9.png".decode("utf-8", "surrogateescape")):
        write_page(scans / name, len(name))
    (scans / "undecided").write_bytes((scans / "a.png").read_bytes())
    write_zip(scans / "box.zip", {"in/1.png": (scans / "a.png").read_bytes()})
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        '{"path": "scans/a.png", "x": {"y": [1, null, "\\u00e9"]}}\n{"path": "no.png"}\n'
        '{"n": 1}\n{"url": "https://h/1.png"}\n'
    )
    found = await find(scans, manifest)
    assert len(found) == 9
    shard = tmp_path / "1.shard"
    shard.write_bytes(encode_shard(str(tmp_path), [encode_row(str(tmp_path), file) for file in found]))
    assert all(map(same, read_shard(shard).files, found))
    assert [repr(file) for file in await find(shard)] == [repr(file) for file in found]
    inputs = resolve_inputs([str(shard)], cwd=Path("/"))
    assert inputs.root == tmp_path
    batches = [batch async for batch in list_names(inputs, InputConfig())]
    assert sum(len(batch.names) + len(batch.files) for batch in batches) == len(found)


async def test_a_run_over_a_shard_is_a_run_over_its_files(scans: Path, tmp_path: Path) -> None:
    """Names are those of the whole run, and files that appear later are no part of it."""
    for number in range(3):
        write_page(scans / "sub" / f"{number}.png", number)
    shard = tmp_path / "elsewhere" / "1.shard"
    shard.parent.mkdir()
    shard.write_bytes(encode_shard(str(scans), [encode_row(str(scans), file) for file in await find(scans)]))
    write_page(scans / "sub" / "later.png", 9)
    async with serve_fake() as fake:
        first = await run_here(shard, tmp_path / "out", fake.url)
        again = await run_here(shard, tmp_path / "out", fake.url)
    assert (first.exit_code, again.exit_code, len(fake.calls)) == (0, 0, 3)
    assert sorted(line["source"] for line in results(tmp_path / "out")) == [f"sub/{number}.png" for number in range(3)]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-3], id="cut-off"),
        pytest.param(lambda data: data.replace(b"a.png", b"b.png"), id="changed"),
        pytest.param(lambda data: data.replace(b'"pagemill_shard":1', b'"pagemill_shard":9'), id="later-release"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
async def test_a_damaged_shard_file_is_refused(scans: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_page(scans / "a.png", 1)
    shard = tmp_path / "1.shard"
    shard.write_bytes(damage(encode_shard(str(scans), [encode_row(str(scans), file) for file in await find(scans)])))
    with pytest.raises(UsageError):
        read_shard_rows(shard)

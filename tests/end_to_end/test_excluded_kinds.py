"""`--exclude-kind`: formats that are left out, by content, and counted as ignored."""

import tarfile
import zipfile
from pathlib import Path

import orjson
import pytest
from PIL import Image

from pipeline.records import State
from tests.end_to_end.test_plan import plan_here
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.runs import results, run_command, run_here

EXCLUDED = {"exclude_kinds": ("gif", "webp")}
IGNORED = {"excluded gif": 2, "excluded webp": 1, ".txt": 1}


def write_tree(scans: Path) -> None:
    """Write 2 pages and 3 files of the excluded kinds, one of them under another suffix and one without any."""
    write_page(scans / "a.png", 1)
    write_page(scans / "b.jpg", 2)
    write_page(scans / "c.gif", 3)
    write_page(scans / "d.gif", 4).rename(scans / "d.jpg")
    write_page(scans / "sub" / "e.webp", 5).rename(scans / "sub" / "e")
    (scans / "notes.txt").write_text("buy milk\n")


async def test_they_are_counted_as_ignored_by_run_status_and_plan(scans: Path, tmp_path: Path) -> None:
    """Also in an unchanged tree, and when the run ends early."""
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        early = await run_here(scans, out, fake.url, input=EXCLUDED, run={"max_calls": 1, "jobs": 1})
        assert (early.exit_code, early.pending, early.ignored) == (10, 1, IGNORED)
        for exact in (False, True):
            plan = await plan_here(scans, out, exact=exact, input=EXCLUDED)
            assert (plan.counts.calls, plan.counts.ignored) == (1, IGNORED)
        for _ in range(2):
            summary = await run_here(scans, out, fake.url, input=EXCLUDED)
            assert (summary.exit_code, summary.pages, summary.ignored, len(fake.calls)) == (0, 2, IGNORED, 2)
        status = await run_command("status", out, "--json")
        assert orjson.loads(status.stdout)["ignored"] == IGNORED
        whole = await run_here(scans, out, fake.url)
        assert (whole.totals[State.DONE], whole.ignored, len(fake.calls)) == (5, {".txt": 1}, 5)


async def test_a_file_that_was_named_is_taken(scans: Path, tmp_path: Path) -> None:
    """Like `--exclude`, the setting is about what a directory or a glob holds."""
    write_tree(scans)
    (scans / "list.txt").write_text("c.gif\n")
    async with serve_fake() as fake:
        inputs = [scans / "c.gif", scans / "list.txt", scans / "sub" / "*"]
        summary = await run_here(inputs, tmp_path / "out", fake.url, input=EXCLUDED)
        assert {line["source"] for line in results(tmp_path / "out")} == {"c.gif"}
        assert (len(fake.calls), summary.ignored) == (1, {"excluded webp": 1})


async def test_damage_is_no_kind(scans: Path, tmp_path: Path) -> None:
    """A damaged page of the kind is left out; one that is no image fails as before."""
    (scans / "empty.gif").write_bytes(b"")
    (scans / "text.png").write_bytes(b"not an image")
    (scans / "cut.gif").write_bytes(b"GIF89a")
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, input=EXCLUDED)
    assert (summary.totals[State.FAILED], summary.ignored) == (2, {"excluded gif": 1})


async def test_members_of_archives(scans: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    files = [path for path in sorted((tmp_path / "tree").rglob("*")) if path.is_file()]
    with zipfile.ZipFile(scans / "a.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    with tarfile.open(scans / "b.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "tree" / "c.gif", "c.gif")
        tar.add(tmp_path / "tree" / "a.png", "other.png")
    async with serve_fake() as fake:
        plan = await plan_here(scans, tmp_path / "out", exact=True, input=EXCLUDED)
        summary = await run_here(scans, tmp_path / "out", fake.url, input=EXCLUDED)
        assert summary.ignored == plan.counts.ignored == IGNORED | {"excluded gif": 3}
        assert len(fake.calls) == plan.counts.calls == 2


@pytest.mark.parametrize("arguments", [["run", "-o", "out"], ["plan"]], ids=["run", "plan"])
async def test_an_unknown_kind_is_named(scans: Path, arguments: list[str]) -> None:
    Image.new("L", (120, 120)).save(scans / "a.png")
    done = await run_command(*arguments, scans, "--exclude-kind", "jpg")
    assert done.returncode == 2
    assert b"no kind 'jpg'; the kinds are jpeg, png, gif, webp" in done.stderr

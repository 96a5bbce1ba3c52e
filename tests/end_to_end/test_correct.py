"""`pagemill correct`: corrected texts are exported, verified, and never paid for again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.batch.retry import RetrySelection
from pipeline.records import State
from pipeline.workspace.lock import lock_workspace
from tests.corrections import correct, counts, write_corrections
from tests.end_to_end.test_positions import answer_with_lines
from tests.fakes import accept, answer_error, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page
from tests.runs import failures, results, run_arguments, run_command, run_here


def last(workspace: Path) -> dict[str, dict[str, Any]]:
    """Return the last record of each source."""
    return {line["source"]: line for line in results(workspace)}


async def fold(workspace: Path, *corrections: Mapping[str, Any], force: bool = False) -> dict[str, int]:
    """Fold corrections in; return what they did."""
    folded, _ = await anyio.to_thread.run_sync(lambda: correct(workspace, *corrections, force=force))
    return counts(folded)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    write_page(tmp_path / "scans/a.png", 1)
    write_page(tmp_path / "scans/b.png", 2)
    write_page(tmp_path / "scans/copy.png", 1)
    return tmp_path / "scans"


async def test_a_corrected_text_is_exported_and_verified_and_costs_nothing(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        arguments = run_arguments(scans, tmp_path, fake.url)
        assert (await run_command(*arguments)).returncode == 0
        before = last(out)
        text = "中文 corrected\nby a person"
        file = write_corrections(
            tmp_path / "c.jsonl",
            {"source": "a.png", "page": 1, "text": text, "base": before["a.png"]["added"], "checked": True},
            {"source": "b.png", "page": 1, "checked": True},
        )
        done = await run_command("correct", out, file)
        assert (done.returncode, done.stdout) == (0, b"")
        assert b"1 corrected, 1 checked, 1 copies likewise" in done.stderr
        size = (out / "results.jsonl").stat().st_size
        again = await run_command("correct", out, file, "--json")
        assert json.loads(again.stdout)["unchanged"] == 2
        assert (out / "results.jsonl").stat().st_size == size
        for arguments_of in (("txt", "texts"), ("parquet", "pages")):
            form, folder = arguments_of
            assert (await run_command("export", out, "--to", form, tmp_path / folder)).returncode == 0
        verified = await run_command("verify", out)
        assert (verified.returncode, verified.stdout) == (0, b"")
        assert (await run_command(*arguments)).returncode == 0
        assert len(fake.calls) == 2
    assert (tmp_path / "texts/a.png.txt").read_text() == (tmp_path / "texts/copy.png.txt").read_text() == text + "\n"
    rows = {row["source"]: row for row in pq.read_table(tmp_path / "pages").to_pylist()}
    assert (rows["a.png"]["text"], rows["a.png"]["text_from"]) == (text, "correction")
    assert rows["a.png"]["original_text"] == before["a.png"]["text"]
    assert rows["b.png"]["original_text"] is None
    assert rows["b.png"]["checked"] is not None
    after = last(out)
    assert after["a.png"]["review"]["original"] == {
        "text": before["a.png"]["text"], "added": before["a.png"]["added"],
    }  # fmt: skip
    assert {line["text"] for line in results(out)[:3]} == {line["text"] for line in before.values()}
    status = json.loads((await run_command("status", out, "--json")).stdout)
    assert (status["corrected"], status["checked"], status["done"]) == (2, 3, 2)


async def test_a_later_copy_of_a_corrected_page_gets_the_corrected_text(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        await fold(out, {"source": "copy.png", "page": 1, "text": "corrected", "checked": True})
        (scans / "later.png").write_bytes((scans / "a.png").read_bytes())
        (scans / "a.png").rename(scans / "renamed.png")
        summary = await run_here(scans, out, fake.url)
        assert (summary.calls, summary.exit_code) == (0, 0)
    after = last(out)
    assert {name: after[name]["text"] for name in ("later.png", "renamed.png")} == {
        "later.png": "corrected", "renamed.png": "corrected",
    }  # fmt: skip
    assert after["later.png"]["review"]["checked"] == after["copy.png"]["review"]["checked"]
    assert list_faults(out) == []


async def test_again_leaves_reviewed_pages_alone_unless_they_are_included(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        arguments = run_arguments(scans, tmp_path, fake.url)
        await run_command(*arguments)
        await fold(out, {"source": "a.png", "page": 1, "text": "corrected"})
        done = await run_command(*arguments, "--again")
        assert done.returncode == 0
        assert b"2 pages that a person has corrected or checked" in done.stderr
        assert len(fake.calls) == 3
        assert (last(out)["a.png"]["text"], last(out)["copy.png"]["text"]) == ("corrected", "corrected")
        planned = await run_command(*arguments, "--again", "-n", "--json")
        assert json.loads(planned.stdout)["calls"] == 1
        await run_command(*arguments, "--again", "--again-reviewed")
        assert len(fake.calls) == 5
    after = last(out)
    assert "corrected" not in {after["a.png"]["text"], after["copy.png"]["text"]}
    assert "review" not in after["a.png"]
    assert list_faults(out) == []


async def test_a_page_sent_again_for_positions_keeps_the_corrected_text(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake(answer_with_lines) as fake:
        await run_here(scans, out, fake.url)
        await fold(
            out,
            {"source": "a.png", "page": 1, "text": "one fine line", "checked": True},
            {"source": "copy.png", "page": 1, "text": "another line"},
        )
        for _ in range(2):
            summary = await run_here(scans, out, fake.url, run={"positions": True})
            assert summary.exit_code == 0
        assert len(fake.calls) == 4
    after = last(out)
    assert (after["a.png"]["text"], after["copy.png"]["text"]) == ("one fine line", "another line")
    assert [line["text"] for line in after["a.png"]["lines"]] == ["one fine line"]
    assert after["a.png"]["review"]["original"]["text"] == "one line"
    assert after["a.png"]["review"]["checked"] is not None
    assert list_faults(out) == []


async def test_a_person_transcribes_a_page_that_failed(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake(answer_error(400)) as fake:
        summary = await run_here(scans, out, fake.url)
        assert summary.totals[State.FAILED] == 3
        page = failures(out)[0]
        source = page["source"]
        assert await fold(out, {"source": source, "page": 1, "text": "read by eye", "id": page["id"]}) in (
            {"transcribed": 1}, {"transcribed": 1, "copies": 1},
        )  # fmt: skip
        assert list_faults(out) == []
        calls = len(fake.calls)
        fake.script = accept
        summary = await run_here(scans, out, fake.url)
        assert len(fake.calls) == calls
    assert last(out)[source]["text_from"] == "correction"
    assert list_faults(out) == []


async def test_a_run_holds_the_workspace(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    file = write_corrections(tmp_path / "c.jsonl", {"source": "a.png", "page": 1, "text": "x"})
    with lock_workspace(out):
        assert (await run_command("correct", out, file)).returncode == 11


async def test_a_file_that_changes_is_read_anew_and_its_former_content_keeps_the_correction(
    scans: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", scans / "b.png"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        first = last(out)["b.png"]
        await fold(out, {"source": "b.png", "page": 1, "text": "corrected"})
        former = page.read_bytes()
        write_page(page, 9)
        assert (await run_here(scans, out, fake.url)).calls == 1
        assert last(out)["b.png"]["text"] != "corrected"
        assert await fold(out, {"source": "b.png", "page": 1, "text": "x", "id": first["id"]}) == {"refused": 1}
        page.write_bytes(former)
        assert (await run_here(scans, out, fake.url)).calls == 0
    assert last(out)["b.png"]["text"] == "corrected"
    assert list_faults(out) == []


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"input": {"changed_by": "sha256"}}, id="changed-by-content"),
        pytest.param({"prepare": {"dedup": "off"}}, id="no-deduplication"),
        pytest.param({"prepare": {"skip_blank": True}}, id="skip-blank"),
        pytest.param({"run": {"at_most_once": True}}, id="at-most-once"),
    ],
)
async def test_settings_of_a_later_run_pay_for_no_corrected_page(
    scans: Path, tmp_path: Path, sections: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        await fold(out, {"source": "a.png", "page": 1, "text": "corrected"}, {"source": "b.png", "page": 1, "text": ""})
        for page in scans.iterdir():
            page.touch()
        assert (await run_here(scans, out, fake.url, **sections)).calls == 0
    assert {name: line["text"] for name, line in last(out).items()} == {
        "a.png": "corrected", "b.png": "", "copy.png": "corrected",
    }  # fmt: skip


async def test_pages_of_equal_pixels_get_the_corrected_text(tmp_path: Path) -> None:
    out, scans = tmp_path / "out", tmp_path / "scans"
    write_page(scans / "a.png", 1)
    with Image.open(scans / "a.png") as image:
        image.save(scans / "b.tif")
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, prepare={"dedup": "pixels"})
        assert await fold(out, {"source": "a.png", "page": 1, "text": "corrected"}) == {"corrected": 1, "copies": 1}
        with Image.open(scans / "a.png") as image:
            image.save(scans / "c.bmp")
        assert (await run_here(scans, out, fake.url, prepare={"dedup": "pixels"})).calls == 0
    assert {line["text"] for line in last(out).values()} == {"corrected"}
    assert list_faults(out) == []


async def test_fields_of_a_manifest_that_come_later_leave_the_text(tmp_path: Path) -> None:
    out, manifest = tmp_path / "out", tmp_path / "pages.csv"
    write_page(tmp_path / "a.png", 1)
    write_page(tmp_path / "copy.png", 1)
    manifest.write_text("file\na.png\ncopy.png\n")
    async with serve_fake() as fake:
        await run_here(manifest, out, fake.url)
        await fold(
            out, {"source": "a.png", "page": 1, "text": "mine"}, {"source": "copy.png", "page": 1, "text": "other"}
        )
        manifest.write_text("file,box\na.png,1\ncopy.png,2\n")
        assert (await run_here(manifest, out, fake.url)).calls == 0
    after = last(out)
    assert [(after[name]["text"], after[name]["meta"]) for name in ("a.png", "copy.png")] == [
        ("mine", {"box": "1"}), ("other", {"box": "2"}),
    ]  # fmt: skip
    assert list_faults(out) == []


async def test_a_retry_sends_no_page_that_a_person_transcribed(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake(answer_error(400)) as fake:
        await run_here(scans, out, fake.url)
        await fold(
            out, {"source": "a.png", "page": 1, "text": "by eye"}, {"source": "b.png", "page": 1, "text": "by eye, too"}
        )
        calls = len(fake.calls)
        fake.script = accept
        await run_here(scans, out, fake.url, retry=RetrySelection())
        assert len(fake.calls) == calls
        later = scans / "later.png"
        later.write_bytes((scans / "a.png").read_bytes())
        assert (await run_here(scans, out, fake.url)).calls == 0
    assert last(out)["later.png"]["text"] == "by eye"
    assert list_faults(out) == []

"""From a run to the report, to a correction in a browser, and back: by the commands that a person types."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from playwright.async_api import Browser, expect

from tests.end_to_end.test_positions import answer_with_lines
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.report.review_pages import page_record, reading, write_review, write_scan
from tests.runs import read_until, results, run_arguments, run_command, start_command
from tests.server.browser import visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "a line, 读过的\nby a person"


async def test_a_correction_in_the_report_reaches_every_export_and_costs_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    for name, shade in (("a.png", 1), ("b.png", 2)):
        write_page(tmp_path / "scans" / name, shade)
    out = tmp_path / "out"
    async with serve_fake(answer_with_lines) as fake:
        arguments = run_arguments(tmp_path / "scans", tmp_path, fake.url, "--positions")
        assert (await run_command(*arguments)).returncode == 0
        original = {line["source"]: line["text"] for line in results(out)}
        done = await run_command("report", out, "--json")
        assert json.loads(done.stdout)["pictures"] == {"linked": 2, "made": 0, "unshown": 0, "missing": 0}
        async with reading(browser, out / "report") as visit:
            page = visit.page
            await page.locator(".option", has_text="a.png").click()
            await expect(page.locator("#viewer polygon")).to_have_count(1)
            await page.get_by_role("button", name="Edit").click()
            await page.locator("#editor").fill(TEXT)
            await page.get_by_role("button", name="Save").click()
            await page.keyboard.press("c")
            async with page.expect_download() as info:
                await page.get_by_role("button", name="Download corrections").click()
            await (await info.value).save_as(tmp_path / "corrections.jsonl")
            done = await run_command("correct", out, tmp_path / "corrections.jsonl")
            assert (done.returncode, done.stdout) == (0, b"")
            for form, folder in (("txt", "texts"), ("parquet", "pages")):
                assert (await run_command("export", out, "--to", form, tmp_path / folder)).returncode == 0
            verified = await run_command("verify", out)
            assert (verified.returncode, verified.stdout) == (0, b"")
            calls = len(fake.calls)
            assert (await run_command(*arguments)).returncode == 0
            assert len(fake.calls) == calls
            assert (await run_command("report", out)).returncode == 0
            await page.reload()
            await expect(page.locator("#page-facts")).to_contain_text("corrected · checked")
            await expect(page.locator("#corrections")).to_be_hidden()
            await page.get_by_text("Original text").click()
            await expect(page.locator("#original-text")).to_have_text(original["a.png"])
    assert (tmp_path / "texts/a.png.txt").read_text() == f"{TEXT}\n"
    rows = {row["source"]: row for row in pq.read_table(tmp_path / "pages").to_pylist()}
    assert (rows["a.png"]["text"], rows["a.png"]["original_text"]) == (TEXT, original["a.png"])
    assert rows["b.png"]["text"] == original["b.png"]
    assert results(out)[-1]["review"]["original"]["text"] == original["a.png"]


async def test_a_served_report_saves_at_once_and_ends_with_a_signal(browser: Browser, tmp_path: Path) -> None:
    write_page(tmp_path / "scans/a.png", 1)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        assert (await run_command(*run_arguments(tmp_path / "scans", tmp_path, fake.url))).returncode == 0
    async with start_command("report", out, "--serve", "--port", "0") as process:
        assert process.stdout is not None
        url = (await process.stdout.receive()).decode().strip()
        async with visiting(browser, url.partition("/?")[0]) as visit:
            await visit.page.goto(f"{url}#source=a.png&page=1")
            await expect(visit.page.locator("#picture-note")).to_have_text("")
            await visit.page.get_by_role("button", name="Edit").click()
            await visit.page.locator("#editor").fill(TEXT)
            await visit.page.get_by_role("button", name="Save").click()
            await expect(visit.page.locator("#message")).to_have_text("Saved in the workspace.")
        assert results(out)[-1]["text"] == TEXT
        process.terminate()
        await read_until(process, b"SIGTERM")
        assert await process.wait() == 0
    verified = await run_command("verify", out)
    assert (verified.returncode, verified.stdout) == (0, b"")


async def test_the_report_that_is_named_has_its_pictures_when_the_workspace_is_behind_a_link(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    write_scan(tmp_path / "deep/scans/a.png", ["a line"])
    out = write_review(tmp_path / "deep", [page_record("a.png", ["a line"])])
    (tmp_path / "link").symlink_to(out)
    done = await run_command("report", tmp_path / "link", "--json")
    report = Path(json.loads(done.stdout)["report"]).parent
    async with reading(browser, report, hash_="source=a.png&page=1") as visit:
        await expect(visit.page.locator("#viewer polygon")).to_have_count(1)

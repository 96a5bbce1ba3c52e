"""Names and texts that would run, turn or break the report, in a real browser."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.report.review_pages import build, failure, names, page_record, plain_record, reading, write_review
from tests.server.browser import Visit

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">"
ENDS = "<!-- ]]> --> \u2028 \u2029 \\ ' \" ` ${document.title = 'run'}"
TURNED = "invoice\u202efdp.exe"
LARGE = "第一行 of a very long page\n" * 500_000


async def shown_text(visit: Visit) -> str:
    """Return the text of the page that is open."""
    return str(await visit.page.locator("#text").evaluate("box => box.textContent"))


@pytest.mark.parametrize("text", [pytest.param(SCRIPT, id="script"), pytest.param(ENDS, id="ends")])
async def test_a_text_that_is_a_script_is_shown_as_text(browser: Browser, tmp_path: Path, text: str) -> None:
    """As the text, as the text of a line, in an excerpt, and as the original of a correction."""
    records = [plain_record("a.png", text), page_record("b.png", text.split("\n"))]
    out = write_review(tmp_path, records, [failure("c.tif", text)])
    build(out)
    async with reading(browser, out / "report") as visit:
        page, title = visit.page, await visit.page.title()
        await page.locator(".option", has_text="a.png").click()
        await expect(page.locator("#text")).to_be_visible()
        assert await shown_text(visit) == text
        await page.locator("#search").fill(text[:12])
        await expect(page.locator(".excerpt mark").first).to_have_text(text[:12])
        await page.locator("#search").fill("")
        await page.locator(".option", has_text="c.tif").click()
        await expect(page.locator("#page-notes")).to_contain_text("rejected: ")
        await page.keyboard.press("k")
        await page.locator(".option", has_text="a.png").click()
        await page.get_by_role("button", name="Edit").click()
        await page.locator("#editor").fill(f"{text}!")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text("Original text").click()
        assert await page.locator("#original-text").evaluate("box => box.textContent") == text
        assert await page.title() == title
        assert await page.locator("img[src=x], #pages script").count() == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("<img src=x onerror=document.title='run'>.png", id="markup"),
        pytest.param(f"{TURNED}.png", id="right-to-left"),
        pytest.param("a\nb\tc\x01.png", id="control-characters"),
        pytest.param("__proto__", id="prototype"),
        pytest.param("x" * 250 + ".png", id="long"),
        pytest.param("&source=evil&page=9#?%00.png", id="address"),
    ],
)
async def test_a_hostile_name_is_a_name(browser: Browser, tmp_path: Path, name: str) -> None:
    out = write_review(tmp_path, [plain_record(name, "text of it"), plain_record("next.png", "other")])
    build(out)
    async with reading(browser, out / "report") as visit:
        page, title = visit.page, await visit.page.title()
        safe = "".join("\ufffd" if character in "\u202e\n\t\x01" else character for character in name)
        assert set(await names(page)) == {safe, "next.png"}
        option = page.locator(".option").nth((await names(page)).index(safe))
        box = await option.bounding_box()
        assert box
        assert box["height"] == 68
        await option.click()
        await expect(page.locator("#text")).to_have_text("text of it")
        await page.reload()
        await expect(page.locator("#text")).to_have_text("text of it")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_role("button", name="Checked").click()
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        assert await page.title() == title


async def test_a_text_that_turns_its_direction_leaves_the_rest_alone(browser: Browser, tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "\u202e\u2067turned"), plain_record("b.png", "שלום")])
    build(out)
    async with reading(browser, out / "report") as visit:
        await visit.page.locator(".option", has_text="b.png").click()
        await expect(visit.page.locator("#text")).to_have_css("direction", "rtl")
        await visit.page.locator(".option", has_text="a.png").click()
        assert await shown_text(visit) == "\u202e\u2067turned"
        await expect(visit.page.locator("#text")).to_have_css("unicode-bidi", "plaintext")


async def test_a_line_has_its_own_direction(browser: Browser, tmp_path: Path) -> None:
    """Below a line of another script, the end of a Hebrew sentence is on its left."""
    out = write_review(tmp_path, [plain_record("a.png", "Total 12:\nשלום עולם!")])
    build(out)
    async with reading(browser, out / "report", hash_="source=a.png&page=1") as visit:
        text = visit.page.locator("#text")
        await expect(text).to_contain_text("Total")
        first, last = await text.evaluate(
            """box => {
              const place = (at) => {
                const range = document.createRange();
                range.setStart(box.firstChild, at);
                range.setEnd(box.firstChild, at + 1);
                return range.getBoundingClientRect().x;
              };
              return [place(box.textContent.indexOf("ש")), place(box.textContent.indexOf("!"))];
            }"""
        )
        assert last < first


async def test_a_text_of_ten_million_characters_is_shown_in_parts(browser: Browser, tmp_path: Path) -> None:
    """Pages beside it stay as quick as they were."""
    out = write_review(tmp_path, [plain_record("a.png", LARGE), plain_record("b.png", "small")])
    build(out)
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.locator(".option", has_text="a.png").click()
        await expect(page.get_by_role("button", name=f"Show all {len(LARGE):,} characters")).to_be_visible()
        assert len(await shown_text(visit)) < 250_000
        await expect(page.get_by_role("button", name="Edit")).to_be_disabled()
        await page.locator("#search").fill("VERY LONG PAGE")
        await expect(page.locator("#found")).to_have_text("1 page of 2")
        await page.locator("#search").fill("")
        await page.keyboard.press("Escape")
        await page.locator(".option", has_text="b.png").click()
        await expect(page.locator("#text")).to_have_text("small")


async def test_nul_and_lone_surrogates_are_kept_out_of_corrections(browser: Browser, tmp_path: Path) -> None:
    """A browser shows NUL as it likes; a text that was not changed stays as it is."""
    out = write_review(tmp_path, [plain_record("a.png", "one\0two"), plain_record("b.png", "three")])
    build(out)
    async with reading(browser, out / "report", hash_="source=a.png&page=1") as visit:
        page = visit.page
        await expect(page.locator("#text")).to_contain_text("two")
        for query in ("two", "\0"):
            await page.locator("#search").fill(query)
            await expect(page.locator("#found")).to_have_text("1 page of 2")
            await page.locator("#search").fill("")
            await expect(page.locator("#found")).to_have_text("2 pages")
        await page.get_by_role("button", name="Edit").click()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#corrections")).to_be_hidden()
        await page.get_by_role("button", name="Edit").click()
        await page.locator("#editor").evaluate("field => { field.value = 'half \\ud83d of one'; }")
        await page.get_by_role("button", name="Save").click()
        async with page.expect_download() as info:
            await page.get_by_role("button", name="Download corrections").click()
        line = (await (await info.value).path()).read_text("utf-8")
        assert '"text":"half \ufffd of one"' in line


async def test_a_line_that_says_another_size_does_not_move_the_outlines_off(browser: Browser, tmp_path: Path) -> None:
    """Positions outside the picture, and a picture of another size than the record says."""
    record = page_record("a.png", ["line"])
    assert record.lines is not None
    far = replace(record.lines[0], box=(-1e5, -1e5, 1e6, -1e5, 1e6, 1e6, -1e5, 1e6))
    out = write_review(tmp_path, [replace(record, lines=(far,))])
    build(out)
    async with reading(browser, out / "report", hash_="source=a.png&page=1") as visit:
        await expect(visit.page.locator("#text")).to_have_text("line")
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

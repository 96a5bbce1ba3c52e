"""The report in a real browser, opened from disk: pages, search, filters, keys, addresses."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from pipeline.skipped import Skipped
from tests.report.review_pages import (
    build,
    failure,
    names,
    open_report,
    page_record,
    plain_record,
    reading,
    write_review,
    write_scan,
)
from tests.server.browser import DESK_PX, PHONE_PX, visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

LETTER = ["Dear Sir,", "the ferry leaves at noon.", "中文的信"]
NOTICE = ["PUBLIC NOTICE", "No fishing."]
LONG = "A long page of plain text, more than fifty characters of it. "


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a workspace with a page of each kind; one file has another content by now, and one a new time."""
    directory = tmp_path_factory.mktemp("review")
    for name, lines in (("box/p2.png", LETTER), ("box/p10.png", NOTICE), ("box/p1.png", ["first"])):
        write_scan(directory / "scans" / name, lines)
    records = [
        page_record("box/p2.png", LETTER, score=0.7),
        page_record("box/p10.png", NOTICE, score=0.9),
        page_record("box/p1.png", ["first"], score=0.85),
        replace(plain_record("book.pdf", LONG, page=1), quality=None),
        replace(plain_record("book.pdf", LONG * 2, page=2), added="2026-11-29T11:30:00.000000Z"),
        replace(plain_record("copy.png", "same"), duplicate_of="box/p1.png"),
        replace(plain_record("blank.png", ""), skipped=Skipped("blank", 0.1)),
    ]
    out = write_review(directory, records, [failure("bad.tif", "truncated after 3 kB")])
    write_scan(directory / "scans/box/p1.png", ["another page"])
    os.utime(directory / "scans/box/p2.png", (0, 0))
    build(out)
    return out / "report"


async def test_a_page_is_beside_its_picture_and_its_lines_are_linked(browser: Browser, report: Path) -> None:
    async with reading(browser, report) as visit:
        page = visit.page
        await page.locator(".option", has_text="p2.png").click()
        await expect(page.get_by_role("heading", name="box/p2.png")).to_be_visible()
        line = page.get_by_role("option", name=LETTER[1])
        await line.hover()
        outlines = page.locator("#viewer polygon")
        assert await outlines.count() == len(LETTER)
        await expect(outlines.nth(1)).to_have_class("marked")
        await expect(page.locator(".loupe")).to_have_class("loupe shown")
        await outlines.nth(2).hover(force=True)
        await expect(page.get_by_role("option", name=LETTER[2])).to_have_class("marked")
        box = await outlines.nth(0).bounding_box()
        picture = await page.locator(".sheet img").bounding_box()
        assert box
        assert picture
        scale = picture["width"] / 600
        assert box["x"] - picture["x"] == pytest.approx(40 * scale, abs=3)
        assert box["y"] - picture["y"] == pytest.approx(40 * scale, abs=3)


async def test_the_worst_pages_come_first_and_other_orders_can_be_chosen(browser: Browser, report: Path) -> None:
    async with reading(browser, report) as visit:
        page = visit.page
        first = await names(page)
        assert first[:4] == ["bad.tif", "box/p2.png", "box/p1.png", "box/p10.png"]
        assert first[-1] == "blank.png"
        await page.get_by_label("Order").select_option("document")
        ordered = await names(page)
        assert ordered.index("box/p1.png") < ordered.index("box/p2.png") < ordered.index("box/p10.png")
        await page.get_by_label("Order").select_option("newest")
        assert (await names(page))[0] == "book.pdf"
        await page.get_by_label("Order").select_option("longest")
        assert (await names(page))[:2] == ["book.pdf", "book.pdf"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        pytest.param("failed", ["bad.tif"], id="failed"),
        pytest.param("doubt", ["box/p2.png"], id="in-doubt"),
        pytest.param("short", ["box/p1.png", "box/p10.png", "box/p2.png", "copy.png"], id="short"),
        pytest.param("duplicate", ["copy.png"], id="duplicate"),
        pytest.param("skipped", ["blank.png"], id="blank"),
        pytest.param("changed", ["box/p1.png"], id="changed"),
        pytest.param("corrected", [], id="corrected"),
        pytest.param("checked", [], id="checked"),
    ],
)
async def test_a_filter_shows_the_pages_that_it_names(
    browser: Browser, report: Path, choice: str, expected: list[str]
) -> None:
    async with reading(browser, report) as visit:
        await visit.page.get_by_label("Show").select_option(choice)
        assert sorted(await names(visit.page)) == expected
        option = visit.page.locator(f"#filter option[value={choice}]")
        assert f"({len(expected)})" in str(await option.text_content())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("FERRY", ["box/p2.png"], id="any-case"),
        pytest.param("文的", ["box/p2.png"], id="chinese"),
        pytest.param("BOOK.pdf", ["book.pdf", "book.pdf"], id="a-file's-name"),
        pytest.param("nowhere", [], id="nothing"),
    ],
)
async def test_a_search_finds_texts_and_names(browser: Browser, report: Path, query: str, expected: list[str]) -> None:
    async with reading(browser, report) as visit:
        await visit.page.keyboard.press("/")
        await visit.page.keyboard.type(query)
        await expect(visit.page.locator("#found")).to_have_text(
            f"{len(expected)} page{'' if len(expected) == 1 else 's'} of 8"
        )
        assert await names(visit.page) == expected
        if query == "FERRY":
            await expect(visit.page.locator(".excerpt mark")).to_have_text("ferry")


async def test_keys_go_through_the_list_and_the_document(browser: Browser, report: Path) -> None:
    async with reading(browser, report) as visit:
        page = visit.page
        heading = page.locator("#page-name")
        await page.keyboard.press("j")
        await expect(heading).to_have_text("bad.tif")
        await expect(page.locator("#page-notes")).to_contain_text("rejected: truncated after 3 kB")
        await page.keyboard.press("ArrowDown")
        await expect(heading).to_have_text("box/p2.png")
        await expect(page.locator("#page-place")).to_have_text("2 of 3 in box/")
        await expect(page.locator(".option", has_text="book.pdf").first.locator(".facts")).to_contain_text("page 1 ·")
        await page.keyboard.press("ArrowRight")
        await expect(heading).to_have_text("box/p10.png")
        await expect(page.get_by_role("button", name="Next page of the document")).to_be_disabled()
        await expect(page.locator("#page-notes")).to_have_text("")
        await page.keyboard.press("k")
        await expect(heading).to_have_text("box/p1.png")
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        await page.keyboard.press("j")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
        await expect(heading).to_have_text("box/p1.png")


async def test_a_file_that_has_changed_is_not_shown_beside_the_old_text(browser: Browser, report: Path) -> None:
    async with reading(browser, report, hash_="source=box%2Fp1.png&page=1") as visit:
        page = visit.page
        await expect(page.locator("#text")).to_have_text("first")
        await expect(page.locator("#page-notes")).to_contain_text("the text is of the former content")
        await expect(page.locator("#picture-note")).to_contain_text("the file has changed since it was read")
        await expect(page.locator("#viewer")).to_be_hidden()
        await expect(page.locator(".option", has_text="box/p1.png").locator(".labels")).to_have_text("changed")
        assert await visit.violations() == []
        await page.keyboard.press("ArrowRight")  # its file was touched only
        await expect(page.locator("#viewer polygon")).to_have_count(len(LETTER))
        await expect(page.locator("#page-notes")).to_have_text("")


async def test_keys_are_left_to_what_is_typed(browser: Browser, report: Path) -> None:
    async with reading(browser, report) as visit:
        await visit.page.locator("#search").press_sequentially("jke?c/")
        assert await visit.page.locator("#search").input_value() == "jke?c/"
        await expect(visit.page.locator("#page")).to_be_hidden()


async def test_an_address_names_a_page_after_a_reload_and_a_rebuild(browser: Browser, tmp_path: Path) -> None:
    records = [plain_record("book.pdf", "one", page=1), plain_record("book.pdf", "two", page=2)]
    out = write_review(tmp_path, records)
    build(out)
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.locator(".option", has_text="page 2").click()
        await expect(page.locator("#text")).to_have_text("two")
        address = page.url
        assert address.endswith("#source=book.pdf&page=2")
        (out / "results.jsonl").unlink()
        write_review(tmp_path, [plain_record("another.png", "new"), *records], name="new")
        (tmp_path / "new/results.jsonl").rename(out / "results.jsonl")
        build(out)
        await page.reload()
        await page.locator("body[data-loaded=texts]").wait_for()
        await expect(page.locator("#text")).to_have_text("two")
        assert page.url == address
        await page.go_back()
        await expect(page.get_by_role("listbox", name="Pages")).to_be_visible()


async def test_a_name_that_is_not_utf_8_has_an_address(browser: Browser, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    out = write_review(tmp_path, [plain_record(name, "latin"), plain_record("caf\ufffd.png", "other")])
    build(out)
    async with reading(browser, out / "report", hash_="source_b64=Y2Fm6S5wbmc%3D&page=1") as visit:
        await expect(visit.page.locator("#text")).to_have_text("latin")


@pytest.mark.parametrize("is_dark", [pytest.param(False, id="light"), pytest.param(True, id="dark")])
@pytest.mark.parametrize("size_px", [pytest.param(DESK_PX, id="desk"), pytest.param(PHONE_PX, id="phone")])
async def test_every_view_is_accessible(
    browser: Browser, report: Path, size_px: tuple[int, int], *, is_dark: bool
) -> None:
    """Each view by axe-core; screenshots are kept."""
    screen = f"{'phone' if size_px == PHONE_PX else 'desk'}-{'dark' if is_dark else 'light'}"
    async with reading(browser, report, size_px, is_dark=is_dark, hash_="overview") as visit:
        page = visit.page
        views = {
            "overview": None,
            "list": page.get_by_role("link", name="Pages"),
            "page": page.locator(".option", has_text="p2.png"),
            "edit": page.get_by_role("button", name="Edit"),
        }
        for name, target in views.items():
            if target is not None:
                await target.click()
            if name == "page":
                await page.get_by_role("option", name=LETTER[1]).hover()
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            if name in {"overview", "list"}:
                assert await page.evaluate("scrollY") == 0, "the links to the views are out of sight"
            assert await visit.violations() == [], name
            await visit.picture(f"report-{name}-{screen}")
        await page.get_by_role("button", name="Keys").click()
        assert await visit.violations() == []


async def test_fifty_thousand_pages_have_few_elements(browser: Browser, tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record(f"p{number}.png", f"text {number}") for number in range(6_000)])
    build(out)
    async with reading(browser, out / "report") as visit:
        page = visit.page
        assert await page.locator(".option").count() < 40
        await page.locator("#list").evaluate("list => { list.scrollTop = list.scrollHeight; }")
        await expect(page.locator(".option[aria-posinset='6000']")).to_be_visible()
        assert await page.locator(".option").count() < 40
        await page.locator("#list").press("Home")
        await expect(page.locator("#page-name")).to_have_text("p0.png")


async def test_a_report_opens_from_a_plain_web_server(browser: Browser, report: Path) -> None:
    app = web.Application()
    app.router.add_static("/files", report.parent.parent)
    async with TestServer(app) as server, visiting(browser, f"http://127.0.0.1:{server.port}") as visit:
        await open_report(visit.page, f"{visit.origin}/files/out/report/index.html#source=box%2Fp2.png&page=1")
        await expect(visit.page.locator("#viewer polygon")).to_have_count(len(LETTER))


async def test_a_report_that_was_built_again_says_so_in_the_page_that_is_open(browser: Browser, tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "text")])
    build(out)
    async with reading(browser, out / "report") as visit:
        build(out)
        await visit.page.locator(".option", has_text="a.png").click()
        await expect(visit.page.locator("#message")).to_contain_text("the report may have been built again")
        visit.complaints = [text for text in visit.complaints if "ERR_FILE_NOT_FOUND" not in text]
        await visit.page.reload()
        await expect(visit.page.locator("#text")).to_have_text("text")


@pytest.mark.parametrize("kind", ["pages", "texts"])
async def test_a_data_file_that_is_cut_off_is_named(browser: Browser, tmp_path: Path, kind: str) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    build(out)
    (file,) = (out / "report").glob(f"build-*/{kind}-0000.js")
    file.write_bytes(file.read_bytes()[:20])
    async with visiting(browser, "file://") as visit:
        await visit.page.goto((out / "report/index.html").as_uri())
        await expect(visit.page.locator("#message")).to_contain_text(f"{kind}-0000.js is damaged")
        visit.complaints.clear()  # the browser's of the script

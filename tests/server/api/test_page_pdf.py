"""PDFs on the page: the server renders the pages, and each is read as an image is."""

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, FilePayload, expect

from pipeline.engine.recognition import Line, Recognition
from pipeline.server.api import pdf
from tests.inputs.odd_pdfs import encrypted
from tests.inputs.pdfs import DRAW, Pdf, image
from tests.server.browser import visiting
from tests.server.page_actions import SCREENS, Screen, choose
from tests.server.page_server import LINES, PAGE, SIZE_PX, make_used_key, page_reader, serving_page
from tests.server.pdfs import pdf_of
from tests.server.serving import ScriptedRecogniser

pytestmark = pytest.mark.asyncio(loop_scope="module")


def letter(pages: int = 1, name: str = "letter.pdf") -> FilePayload:
    """Return a PDF whose pages are the test page, in the size at which it is rendered pixel by pixel."""
    scan = Image.open(io.BytesIO(PAGE)).convert("L")
    width, height = (edge * 72 // 300 for edge in SIZE_PX)
    made = Pdf()
    for _ in range(pages):
        made.add_page(DRAW % (width, height, 0, 0), images=[image(SIZE_PX, scan.tobytes())], box=(0, 0, width, height))
    return FilePayload(name=name, mimeType="application/pdf", buffer=made.to_bytes())


async def test_a_pdf_of_one_page_is_read_at_once(browser: Browser) -> None:
    engine = page_reader()
    async with serving_page(engine, renders_pdfs=True) as origin, visiting(browser, origin) as visit:
        await visit.page.goto(origin)
        await choose(visit.page, letter())
        await expect(visit.page.get_by_role("status")).to_have_text("6 lines of text.")
        await expect(visit.page.get_by_text("1 call used")).to_be_visible()
        await expect(visit.page.get_by_text(f"letter.pdf, {SIZE_PX[0]} × {SIZE_PX[1] - 2} px")).to_be_visible()
    (sent,) = engine.seen
    assert Image.open(io.BytesIO(sent)).format == "JPEG"


@SCREENS
async def test_the_pages_of_a_longer_one_are_chosen_because_each_is_a_call(browser: Browser, screen: Screen) -> None:
    engine = page_reader()
    async with (
        serving_page(engine, renders_pdfs=True) as origin,
        visiting(browser, origin, screen.size_px, is_dark=screen.is_dark) as visit,
    ):
        page = visit.page
        await page.goto(origin)
        await choose(page, letter(5))
        await expect(page.get_by_role("status")).to_have_text("letter.pdf has 5 pages. Choose which to read.")
        field = page.get_by_label("Pages to read of 5, each a call")
        await expect(field).to_have_value("1-5")
        assert engine.seen == []
        await screen.check(visit, "pdf-question")
        for wrong in ("0", "4-6", "3-2", "", "x", "1,,2"):
            await field.fill(wrong)
            await page.keyboard.press("Enter")
            await expect(page.get_by_text("Write numbers from 1 to 5, such as 1-3, 7.")).to_be_visible()
        await field.fill("4-, 2")
        await page.keyboard.press("Enter")
        await expect(page.locator("#queue-list .name")).to_have_text(
            ["letter.pdf, page 4", "letter.pdf, page 5", "letter.pdf, page 2"]
        )
        await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")
        await expect(page.get_by_text("3 calls used")).to_be_visible()
        await screen.check(visit, "pdf")
    assert len(engine.seen) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            encrypted(b"secret"),
            "odd.pdf needs a password: save it without one, then choose it again.",
            id="password",
        ),
        pytest.param(
            b"%PDF-1.7\nnothing",
            "odd.pdf is damaged: open it in a viewer and save it anew, then choose that file.",
            id="damaged",
        ),
    ],
)
async def test_a_pdf_that_cannot_be_opened_gets_a_sentence_and_costs_nothing(
    browser: Browser, content: bytes, message: str
) -> None:
    async with serving_page(renders_pdfs=True) as origin, visiting(browser, origin) as visit:
        visit.is_error_expected = True
        await visit.page.goto(origin)
        await choose(visit.page, FilePayload(name="odd.pdf", mimeType="application/pdf", buffer=content))
        await expect(visit.page.get_by_role("alert")).to_have_text(message)
        await expect(visit.page.get_by_role("button", name="Choose another file")).to_be_visible()
        await expect(visit.page.get_by_text("0 calls used")).to_be_visible()


async def test_without_the_extra_a_sentence_says_what_the_operator_can_do(browser: Browser) -> None:
    async with serving_page() as origin, visiting(browser, origin) as visit:
        visit.is_error_expected = True
        await visit.page.goto(origin)
        await choose(visit.page, letter())
        await expect(visit.page.get_by_role("alert")).to_have_text(
            "This server reads no PDF; its operator can change that: pip install 'pagemill[pdf]'."
        )


async def test_a_pdf_of_too_many_pages_is_refused_in_a_sentence(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    async with serving_page(renders_pdfs=True) as origin, visiting(browser, origin) as visit:
        visit.is_error_expected = True
        await visit.page.goto(origin)
        await choose(visit.page, letter(3))
        await expect(visit.page.get_by_role("alert")).to_contain_text(
            "letter.pdf has 3 pages; this page takes 2 at most"
        )


async def test_a_document_that_the_server_has_dropped_is_sent_again(browser: Browser) -> None:
    """Once, although several pages miss it."""
    async with serving_page(renders_pdfs=True) as origin, visiting(browser, origin) as visit:
        page = visit.page
        visit.is_error_expected = True
        await page.goto(origin)
        async with page.expect_response("**/page/pdf") as opened:
            await choose(page, letter(4))
        document = (await (await opened.value).json())["id"]
        await expect(page.get_by_label("Pages to read of 4")).to_be_visible()
        await page.evaluate(f"fetch('/page/pdf/{document}', {{ method: 'DELETE' }})")
        await page.get_by_role("button", name="Read these pages").click()
        await expect(page.get_by_role("status")).to_have_text("4 of 4 done.")
    assert len([url for url in visit.requests if url.endswith("/page/pdf")]) == 2


async def test_a_pdf_needs_a_key_where_the_api_does(browser: Browser, tmp_path: Path) -> None:
    """It is opened after the sign-in."""
    key = make_used_key(tmp_path / "keys", used=5)
    async with (
        serving_page(keys=tmp_path / "keys", renders_pdfs=True) as origin,
        visiting(browser, origin) as visit,
    ):
        page = visit.page
        visit.is_error_expected = True
        await page.goto(origin)
        await choose(page, letter())
        await expect(page.get_by_role("alert")).to_contain_text("This server needs an API key.")
        await page.get_by_label("API key").fill(key)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("6 lines of text.")
        await expect(page.get_by_text("6 of 1,000 calls used")).to_be_visible()


async def test_no_more_pages_are_proposed_than_calls_are_left(browser: Browser, tmp_path: Path) -> None:
    key = make_used_key(tmp_path / "keys", used=998)
    async with (
        serving_page(keys=tmp_path / "keys", renders_pdfs=True) as origin,
        visiting(browser, origin) as visit,
    ):
        visit.is_error_expected = True
        await visit.page.goto(origin)
        await visit.page.get_by_label("API key").fill(key)
        await visit.page.keyboard.press("Enter")
        await expect(visit.page.get_by_text("998 of 1,000 calls used")).to_be_visible()
        await choose(visit.page, letter(5))
        field = visit.page.get_by_label("Pages to read of 5, each a call; 2 calls left")
        await expect(field).to_have_value("1-2")


async def test_a_page_that_lies_on_its_side_is_shown_upright(browser: Browser) -> None:
    """The engine read it turned by a quarter; the picture and the enlarged line follow."""
    width, height = 600, 900
    scan = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(scan, "PNG")
    downwards = Line("read downwards", 0.99, ((300, 100), (300, 700), (260, 700), (260, 100)))
    engine = ScriptedRecogniser(Recognition(downwards.text, (downwards,), turn_deg=270))
    async with serving_page(engine) as origin, visiting(browser, origin) as visit:
        page = visit.page
        await page.goto(origin)
        await choose(page, FilePayload(name="side.png", mimeType="image/png", buffer=scan.getvalue()))
        await page.get_by_role("option", name=downwards.text).focus()
        box = await page.locator("polygon").bounding_box()
        picture = await page.locator(".sheet").bounding_box()
        assert box
        assert picture
        assert picture["width"] > picture["height"]
        assert box["width"] > 10 * box["height"]
        await expect(page.locator(".loupe.shown")).to_be_visible()
        await visit.picture("turned")


async def test_lines_of_a_page_keep_their_language(browser: Browser) -> None:
    async with serving_page(renders_pdfs=True) as origin, visiting(browser, origin) as visit:
        await visit.page.goto(origin)
        await choose(visit.page, FilePayload(name="a.pdf", mimeType="application/pdf", buffer=pdf_of((240, 160))))
        await expect(visit.page.get_by_role("option", name=LINES[0])).to_have_attribute("lang", "zh")

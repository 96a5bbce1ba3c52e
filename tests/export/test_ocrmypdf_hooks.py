"""OCRmyPDF with `--pagemill-workspace`, as a real command over a workspace that a real run made: it makes no call."""

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import BinaryIO, Final

import pypdfium2
import pytest
from aiohttp import web
from pikepdf import Pdf
from PIL import Image, ImageDraw, ImageStat
from PIL.Image import Transpose

from pipeline.workspace.lock import lock_workspace
from tests.fakes import Call, FakeOcr, serve_fake
from tests.runs import environment, results, run_arguments, run_command

SIZE_PX: Final = (800, 1000)
DPI: Final = 200
PAGES: Final = (
    (
        ("第一行 人民法院", (100, 100, 500, 140)),
        ("𠮷野家 and 𝄞", (100, 200, 460, 240)),
        ("二〇二六年", (600, 700, 700, 730)),
    ),
    (("Second page, first line", (120, 150, 620, 185)), ("Müller & <Söhne>", (120, 250, 420, 285))),
)
"""Of each page: texts, and their boxes in px of SIZE_PX."""


def draw_page(number: int) -> Image.Image:
    """Return the scan of a page: bars where its lines are."""
    page = Image.new("L", SIZE_PX, "white")
    for _, box in PAGES[number - 1]:
        ImageDraw.Draw(page).rectangle(box, fill="black")
    return page


def write_book(path: Path, pages: Sequence[int] = (1, 2)) -> Path:
    """Write a PDF whose pages are scans."""
    first, *others = map(draw_page, pages)
    first.save(path, save_all=True, append_images=others, resolution=DPI)
    return path


def corners(box: tuple[int, int, int, int]) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def reply(lines: Sequence[tuple[str, tuple[int, int, int, int]]], *, placed: bool = True) -> web.Response:
    """Return the service's reply for a page with these lines."""
    found = [{"text": text, "location": corners(box), "confidence": 0.9} for text, box in lines]
    plain = {"id": "doc", "content": "\n".join(text for text, _ in lines), "timestamp": 1}
    return web.json_response(plain | ({"ocrResult": {"words_info": found}} if placed else {}))


def answer(call: Call) -> web.Response:
    """Answer the first call with the lines of page 1, the second with those of page 2, and so on."""
    placed = call.request.path.endswith("advanced-recognition")
    return reply(PAGES[(call.number - 1) % len(PAGES)], placed=placed)


@dataclass
class Scene:
    """Scans, and a workspace for them.

    Attributes:
        root: The folder with both.
        fake: The service.
    """

    root: Path
    fake: FakeOcr

    @property
    def book(self) -> Path:
        return self.root / "scans/book.pdf"

    @property
    def output(self) -> Path:
        return self.root / "output.pdf"

    async def run(self, *options: str, positions: bool = True) -> None:
        """Recognise the scans, one page at a time."""
        more = ("--positions", *options) if positions else options
        done = await run_command(*run_arguments(self.root / "scans", self.root, self.fake.url, "-j", "1", *more))
        assert done.returncode == 0, done.stderr.decode()

    def ocrmypdf(self, *arguments: str | Path, source: Path | None = None) -> CompletedProcess[str]:
        """Run OCRmyPDF with the workspace over the book, unless another input is given; it makes no call."""
        calls, workspace = len(self.fake.calls), self.root / "out"
        done = run_ocrmypdf("--pagemill-workspace", workspace, *arguments, source or self.book, self.output)
        assert len(self.fake.calls) == calls
        return done

    def write(self, *arguments: str | Path, source: Path | None = None) -> list[str]:
        """Run OCRmyPDF as `ocrmypdf` does, to success, and return the output's texts."""
        done = self.ocrmypdf(*arguments, source=source)
        assert done.returncode == 0, done.stderr
        return self.texts()

    def refuse(self, *arguments: str | Path, source: Path | None = None) -> tuple[int, str]:
        """Run OCRmyPDF as `ocrmypdf` does, and return its exit code and message; it writes nothing."""
        done = self.ocrmypdf(*arguments, source=source)
        assert done.returncode != 0
        assert not self.output.exists()
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr.splitlines()[-1]

    def texts(self) -> list[str]:
        """Return the text of each page of the output, without white space."""
        done = subprocess.run(["pdftotext", self.output, "-"], check=True, capture_output=True, text=True)
        return ["".join(page.split()) for page in done.stdout.split("\f")[:-1]]


def run_ocrmypdf(*arguments: str | Path, stdin: BinaryIO | None = None) -> CompletedProcess[str]:
    """Run the real command without optimisation and conversion to PDF/A, which need further programs."""
    return run_program("-m", "ocrmypdf", "--output-type", "pdf", "--optimize", "0", *arguments, stdin=stdin)


def run_program(*arguments: str | Path, stdin: BinaryIO | None = None) -> CompletedProcess[str]:
    """Run Python."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, check=False, stdin=stdin, capture_output=True, text=True, env=environment(None), timeout=120
    )


def expected(*pages: int) -> list[str]:
    return ["".join("".join(text for text, _ in PAGES[page - 1]).split()) for page in pages]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    (tmp_path / "scans").mkdir()
    write_book(tmp_path / "scans/book.pdf")
    async with serve_fake(answer) as fake:
        yield Scene(tmp_path, fake)


def shown_box(path: Path, page: int, text: str) -> tuple[float, float, float, float]:
    """Return the box of a text on a page, in px of SIZE_PX from the top left corner of its media box, unturned."""
    with pypdfium2.PdfDocument(path) as pdf:
        left, _, _, height = pdf[page - 1].get_mediabox()
        found = pdf[page - 1].get_textpage()
        hit = found.search(text).get_next()
        assert hit is not None, found.get_text_range()
        boxes = [found.get_charbox(at) for at in range(hit[0], sum(hit))]
    scale = DPI / 72
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return (
        (min(lefts) - left) * scale,
        (height - max(tops)) * scale,
        (max(rights) - left) * scale,
        (height - min(bottoms)) * scale,
    )


def assert_over(path: Path, page: int, text: str, box: Sequence[float]) -> None:
    assert shown_box(path, page, text) == pytest.approx(box, abs=3)


def assert_over_bars(path: Path) -> None:
    """Assert that the words of the first page are over the bars that `draw_page` draws, in the whole media box."""
    with pypdfium2.PdfDocument(path) as pdf:
        pdf[0].set_cropbox(*pdf[0].get_mediabox())
        shown = pdf[0].render(scale=DPI / 72).to_pil().convert("L")
    found = subprocess.run(["pdftotext", "-bbox", "-l", "1", path, "-"], check=True, capture_output=True, text=True)
    words = re.findall(r'<word xMin="(.+?)" yMin="(.+?)" xMax="(.+?)" yMax="(.+?)">(.*?)</word>', found.stdout)
    assert "".join(word for *_, word in words) == expected(1)[0]
    for *numbers, word in words:
        bar = shown.crop([round(float(number) * DPI / 72) for number in numbers])
        assert ImageStat.Stat(bar).mean[0] < 30, word


@pytest.mark.parametrize("jobs", [["-j", "2"], ["-j", "2", "--no-use-threads"]], ids=" ".join)
async def test_each_page_has_the_text_of_its_record(scene: Scene, jobs: list[str]) -> None:
    await scene.run()
    assert scene.write(*jobs, "--sidecar", scene.root / "text.txt") == expected(1, 2)
    sidecar = (scene.root / "text.txt").read_text().split("\f")
    assert [text.strip() for text in sidecar] == [line["text"] for line in results(scene.root / "out")]
    assert len(scene.fake.calls) == 2


@pytest.mark.parametrize(
    "option",
    [
        pytest.param([], id="as-it-is"),
        pytest.param(["--force-ocr"], id="force", marks=pytest.mark.deep),
        pytest.param(["--oversample", "400"], id="oversample"),
    ],
)
async def test_texts_are_where_the_lines_are(scene: Scene, option: list[str]) -> None:
    await scene.run()
    scene.write(*option)
    for page, lines in enumerate(PAGES, 1):
        for text, box in lines:
            if "𠮷" not in text:  # PDFium's search knows no character beyond the BMP
                assert_over(scene.output, page, text, box)


async def test_only_the_pages_that_are_asked_for_need_records(scene: Scene) -> None:
    await scene.run("--pages", "2")
    assert scene.write("--pages", "2") == ["", *expected(1)]  # the first call's lines
    assert scene.write("--pages", "2-end", "--sidecar", scene.root / "text.txt") == ["", *expected(1)]
    assert "skipped on page(s) 1" in (scene.root / "text.txt").read_text()


async def test_a_page_without_a_record_ends_the_job_before_it_begins(scene: Scene) -> None:
    write_book(scene.book, [1, 2, 1])
    await scene.run("--pages", "1")
    code, message = scene.refuse()
    workspace = scene.root / "out"
    assert code == 2
    assert message == (
        f"NoRecordError: {scene.book} page 2: no finished record in {workspace}, nor for 1 more;"
        f" run: pagemill run {scene.book} -o {workspace} --positions"
    )


async def test_pages_without_a_record_are_left_without_text_when_asked_for(scene: Scene) -> None:
    await scene.run("--pages", "2")
    done = scene.ocrmypdf("--pagemill-skip-missing")
    assert done.returncode == 0
    assert scene.texts() == ["", *expected(1)]
    assert f"{scene.book} page 1: left without text: no finished record in {scene.root / 'out'}" in done.stderr


async def test_a_record_without_positions_is_refused(scene: Scene) -> None:
    await scene.run(positions=False)
    code, message = scene.refuse()
    assert code == 2
    assert f"{scene.book} page 1: no positions in {scene.root / 'out'}, nor for 1 more; run: " in message
    await scene.run()
    assert scene.write() == expected(1, 2)


async def test_the_last_record_of_a_page_counts(scene: Scene) -> None:
    await scene.run("--pages", "1")
    await scene.run("--pages", "1", "--again", "*")
    assert scene.write("--pages", "1") == [*expected(2), ""]


async def test_what_does_not_go_with_the_workspace_is_refused(scene: Scene) -> None:
    await scene.run()
    for arguments, message in (
        (["--deskew"], ": records hold positions of the page as it is"),
        (["--rotate-pages"], ": records hold positions of the page as it is"),
        (["--pdf-renderer", "fpdf2"], ""),
        (["--ocr-engine", "none"], ""),
    ):
        refusal = f"{' '.join(arguments)} does not go with --pagemill-workspace{message}"
        assert scene.refuse(*arguments) == (1, refusal)
    missing = "missing: not a workspace (no run.json in it)"
    assert scene.refuse("--pagemill-workspace", "missing") == (1, missing)


async def test_copies_under_other_names_and_streams_are_known_by_content(scene: Scene) -> None:
    shutil.copy(scene.book, scene.root / "scans/copy.pdf")
    await scene.run()
    assert [line["duplicate_of"] for line in results(scene.root / "out")].count(None) == 2
    renamed = scene.book.rename(scene.root / "书 1.pdf")
    assert scene.write(source=renamed) == expected(1, 2)
    with renamed.open("rb") as stdin:
        done = run_ocrmypdf("--pagemill-workspace", scene.root / "out", "-", scene.output, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert scene.texts() == expected(1, 2)


async def test_a_workspace_is_read_beside_a_run_without_an_index_and_not_changed(scene: Scene) -> None:
    await scene.run()
    workspace = scene.root / "out"
    for index in workspace.glob("index.sqlite3*"):
        index.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in workspace.iterdir()}
    with lock_workspace(workspace):
        assert scene.write() == expected(1, 2)
    assert {path.name: path.stat().st_mtime_ns for path in workspace.iterdir()} == before


async def test_pages_that_have_a_text_need_a_record_only_where_it_is_read_again(scene: Scene) -> None:
    await scene.run("--pages", "1")
    mixed = scene.root / "mixed.pdf"
    assert scene.write("--pages", "1") == [*expected(1), ""]
    scene.output.rename(mixed)
    code, message = scene.refuse(source=mixed)
    assert (code, "page 2: no finished record" in message) == (2, True)
    assert scene.write("--skip-text", "--pages", "1", source=mixed) == [*expected(1), ""]
    shutil.copy(mixed, scene.root / "scans")
    await scene.run()
    for option in ("--redo-ocr", "--force-ocr"):
        assert sorted(scene.write(option, source=mixed)) == sorted(expected(1, 2))
    assert scene.write("--skip-text", source=mixed)[0] == expected(1)[0]


TURNED: Final = {0: None, 90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}
"""How a page is stored that is turned clockwise, by so many degrees, when it is shown."""
ORIENTATIONS: Final = {0: 1, 90: 6, 180: 3, 270: 8}
"""Of EXIF, by the same degrees."""


def store(page: Image.Image, turn: int) -> Image.Image:
    how = TURNED[turn]
    return page if how is None else page.transpose(how)


@pytest.mark.parametrize("turn", [90, *(pytest.param(turn, marks=pytest.mark.deep) for turn in (0, 180, 270))])
async def test_an_image_is_an_input(scene: Scene, turn: int) -> None:
    scene.book.unlink()
    exif = Image.Exif()
    exif[0x0112] = ORIENTATIONS[turn]
    store(draw_page(1), turn).save(scene.root / "scans/a.jpg", dpi=(DPI, DPI), exif=exif, quality=95)
    await scene.run()
    assert scene.write(source=scene.root / "scans/a.jpg") == expected(1)
    assert_over_bars(scene.output)


async def test_a_fax_of_unequal_resolutions_is_an_input(scene: Scene) -> None:
    scene.book.unlink()
    width, height = SIZE_PX
    fax = draw_page(1).resize((width, height // 2))
    fax.save(scene.root / "scans/a.tif", dpi=(DPI, DPI // 2))
    flat = [(text, (left, top // 2, right, bottom // 2)) for text, (left, top, right, bottom) in PAGES[0]]
    scene.fake.script = lambda _: reply(flat)
    await scene.run()
    assert scene.write(source=scene.root / "scans/a.tif") == expected(1)
    assert_over_bars(scene.output)


async def test_a_page_without_lines_gets_no_text(scene: Scene) -> None:
    scene.fake.script = lambda _: reply([])
    await scene.run()
    assert scene.write() == ["", ""]


async def test_a_tiff_of_two_pages_is_an_input(scene: Scene) -> None:
    scene.book.unlink()
    pages = [draw_page(1), draw_page(2)]
    pages[0].save(scene.root / "scans/a.tif", save_all=True, append_images=pages[1:], dpi=(DPI, DPI))
    await scene.run()
    assert scene.write(source=scene.root / "scans/a.tif") == expected(1, 2)


@pytest.mark.parametrize("option", [[], ["--force-ocr"]], ids=["as-it-is", "force"])
@pytest.mark.parametrize("turn", [90, *(pytest.param(turn, marks=pytest.mark.deep) for turn in (0, 180, 270))])
async def test_a_turned_page_with_a_crop_box(scene: Scene, turn: int, option: list[str]) -> None:
    """The page as a viewer shows it is a part of OCRmyPDF's image of the page."""
    store(draw_page(1), turn).save(scene.book, resolution=DPI, quality=95)
    with Pdf.open(scene.book, allow_overwriting_input=True) as pdf:
        page = pdf.pages[0]
        left, bottom, right, top = map(float, page.mediabox)
        page.mediabox = [left - 40, bottom - 20, right + 10, top + 30]
        page.cropbox = [left, bottom, right, top]
        page.rotate(turn, relative=False)
        pdf.save(scene.book)
    await scene.run()
    assert scene.write(*option) == expected(1)
    assert_over_bars(scene.output)


async def test_without_the_option_ocrmypdf_is_as_it_was(scene: Scene) -> None:
    done = run_ocrmypdf("--pages", "1", scene.book, scene.output)
    assert done.returncode == 0, done.stderr
    with Pdf.open(scene.output) as pdf:
        assert "Tesseract" in str(pdf.docinfo["/Creator"])
    done = run_ocrmypdf("--ocr-engine", "none", scene.book, scene.output)
    assert done.returncode == 0, done.stderr
    done = run_ocrmypdf("--pagemill-skip-missing", scene.book, scene.output)
    assert (done.returncode, done.stderr.strip()) == (1, "--pagemill-skip-missing needs --pagemill-workspace OUT")


async def test_a_job_in_python_takes_the_option_by_name(scene: Scene) -> None:
    await scene.run()
    program = "import ocrmypdf, sys; ocrmypdf.ocr(sys.argv[1], sys.argv[2], output_type='pdf', optimize=0, "
    program += "pagemill_workspace=sys.argv[3])"
    done = run_program("-c", program, scene.book, scene.output, scene.root / "out")
    assert done.returncode == 0, done.stderr
    assert scene.texts() == expected(1, 2)


async def test_the_output_may_be_pdf_a(scene: Scene) -> None:
    await scene.run()
    assert scene.write("--output-type", "pdfa", "--pdfa-backend", "internal") == expected(1, 2)

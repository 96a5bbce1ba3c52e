"""The finished pages of a file, found by its content."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.batch.placed_pages import PlacedPage
from pipeline.errors import UsageError
from pipeline.export.file_pages import FilePage, find_pages, read_page, turn_box, write_page
from pipeline.positions import TextLine
from pipeline.records import TEXT_LAYER, PageId, Prep, Record
from pipeline.skipped import Skipped
from tests.corrections import correct
from tests.export.workspaces import put_records
from tests.factories import RECORD

CONTENT = b"%PDF-1.7"
LINE = TextLine("第一行 𠮷", (20, 20, 110, 20, 110, 50, 20, 50), 0.9)
PLACED = replace(
    RECORD,
    id=PageId(f"sha256:{sha256(CONTENT).hexdigest()}#1"),
    source="another/name.pdf",
    prep=Prep("png", 400, 300, 1),
    lines=(LINE,),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "book.pdf").write_bytes(CONTENT)
    return tmp_path / "book.pdf"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(replace(PLACED, lines=None), "no positions", id="run-without-positions"),
        pytest.param(replace(PLACED, lines=()), "no positions, which the service did not return,", id="service"),
        pytest.param(
            replace(PLACED, lines=None, text_from=TEXT_LAYER),
            "no positions of its text, which is the PDF's text layer,",
            id="text-layer",
        ),
        pytest.param(replace(PLACED, id=RECORD.id), "no finished record", id="other-content"),
    ],
)
def test_a_page_without_positions_says_why(file: Path, record: Record, reason: str) -> None:
    workspace = put_records(file.parent / "out", [record])
    assert list(find_pages(workspace, file, [1])) == [(1, reason)]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(replace(PLACED, text=" \n", lines=None), id="blank"),
        pytest.param(replace(PLACED, text="", lines=None, skipped=Skipped("blank", 0.1)), id="skipped"),
    ],
)
def test_a_page_without_text_needs_no_positions(file: Path, record: Record) -> None:
    workspace = put_records(file.parent / "out", [record])
    [(_, page)] = find_pages(workspace, file, [1])
    assert isinstance(page, FilePage)
    assert (page.text, page.placed.lines) == (record.text, ())


def test_pages_are_spooled_for_workers_and_read_as_often_as_wanted(file: Path, tmp_path: Path) -> None:
    workspace = put_records(tmp_path / "out", [PLACED])
    [(_, page)] = find_pages(workspace, file, [1])
    assert isinstance(page, FilePage)
    write_page(tmp_path, 1, page)
    assert read_page(tmp_path, 1) == read_page(tmp_path, 1) == page
    assert page.placed.lines == (LINE,)
    assert read_page(tmp_path, 2) is None


def test_what_cannot_be_read_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: not a workspace"):
        list(find_pages(tmp_path / "missing", file, [1]))
    workspace = put_records(tmp_path / "out", [PLACED])
    with pytest.raises(UsageError, match=r"gone\.pdf: No such file"):
        list(find_pages(workspace, tmp_path / "gone.pdf", [1]))


def test_lines_are_scaled_into_the_part_of_the_image_that_shows_the_page() -> None:
    page = FilePage("", PlacedPage("a", 1, (100, 200), (LINE,)), shown=(0.5, 0.25, 1.0, 0.75))
    [line] = page.lines_on((400, 400))
    assert line.box == (240, 120, 420, 120, 420, 150, 240, 150)


def test_a_box_turns_with_its_page() -> None:
    box = (0.1, 0.2, 0.4, 0.9)
    assert turn_box(box, 0) == box
    assert turn_box(box, 90) == pytest.approx((0.1, 0.1, 0.8, 0.4))
    assert turn_box(turn_box(box, 90), 270) == pytest.approx(box)
    assert turn_box(box, 180) == pytest.approx((0.6, 0.1, 0.9, 0.8))


def test_a_corrected_page_has_the_corrected_text_and_positions(file: Path) -> None:
    workspace = put_records(file.parent / "out", [PLACED])
    correct(workspace, {"source": PLACED.source, "page": PLACED.page, "text": "by hand"})
    [(_, page)] = find_pages(workspace, file, [1])
    assert isinstance(page, FilePage)
    assert (page.text, [line.text for line in page.placed.lines]) == ("by hand", ["by hand"])

"""The text that pages of PDFs have already."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import Converted, TextFound
from pipeline.inputs.pdf_text import is_readable
from tests.inputs.images import VENDOR, prepare, put
from tests.inputs.odd_pdfs import FULL, card, flate_image, one_page
from tests.inputs.pdfs import DRAW, Pdf, dictionary, stream
from tests.inputs.test_pdf import task_for

USE = replace(VENDOR, uses_text_layer=True)
LINES = ("The quick brown fox jumps over", "the lazy dog, twice a day.")
TEXT = "\n".join(LINES)


def written(mode: int = 0, lines: tuple[str, ...] = LINES, font: bytes = b"/F0") -> bytes:
    """Return the operators of a text."""
    shown = b"".join(b"(%b) Tj 0 -30 Td\n" % line.encode("latin-1") for line in lines)
    return b"BT %b 24 Tf %d Tr 72 700 Td\n%bET\n" % (font, mode, shown)


def text_of(path: Path, data: bytes) -> str | None:
    """Return the text that takes the place of a call; None for a page that is sent."""
    result = Converter().run(task_for(put(path, data), settings=USE))
    assert isinstance(result, Converted | TextFound)
    return result.text if isinstance(result, TextFound) else None


def with_annotation(kind: bytes) -> bytes:
    pdf = Pdf()
    look = {"Type": b"/XObject", "Subtype": b"/Form", "BBox": b"[0 0 9 9]"}
    shown = dictionary({"N": pdf.add(stream(b"0 0 9 9 re f\n", look))})
    entries = {"Type": b"/Annot", "Subtype": kind, "Rect": b"[9 9 99 99]", "AP": shown}
    pdf.add_page(written(), more={"Annots": b"[" + pdf.add(dictionary(entries)) + b"]"})
    return pdf.to_bytes()


def without_unicode() -> bytes:
    """A font whose codes have no meaning, as subsets of fonts without a table have them."""
    encoding = b"<< /Type /Encoding /Differences [65 " + b"".join(b"/g%d" % code for code in range(26)) + b"] >>"
    font = b"<< /Type /Font /Subtype /TrueType /BaseFont /ABCDEF+Odd /Encoding " + encoding + b" >>"
    pdf = Pdf()
    pdf.add_page(
        written(lines=("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 2,), font=b"/F1"), resources={"Font": b"<< /F1 " + font + b" >>"}
    )
    return pdf.to_bytes()


class TestPages:
    def test_visible_text_takes_the_place_of_a_call(self, file: Path) -> None:
        assert text_of(file, one_page(written())) == TEXT
        payload = prepare(file, 1, USE)
        assert (payload.text, payload.body, payload.prep, payload.pages) == (TEXT, b"", None, 1)

    def test_by_default_it_is_ignored(self, file: Path) -> None:
        assert isinstance(Converter().run(task_for(put(file, one_page(written())))), Converted)

    def test_small_pictures_do_not_matter(self, file: Path) -> None:
        logo = one_page(written() + DRAW % (200, 100, 50, 50), flate_image(card()))
        assert text_of(file, logo) == TEXT

    def test_links_do_not_matter(self, file: Path) -> None:
        assert text_of(file, with_annotation(b"/Link")) == TEXT

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(one_page(b""), id="blank"),
            pytest.param(one_page(written(lines=("Page 12",))), id="page-number"),
            pytest.param(one_page(FULL + written(), flate_image(card())), id="stamp-on-a-scan"),
            pytest.param(one_page(FULL + written(3), flate_image(card())), id="hidden-under-a-scan"),
            pytest.param(one_page(written() + written(3)), id="partly-hidden"),
            pytest.param(with_annotation(b"/Square"), id="annotation"),
            pytest.param(without_unicode(), id="codes-without-meaning"),
        ],
    )
    def test_a_page_without_a_sound_text_is_sent(self, file: Path, data: bytes) -> None:
        assert text_of(file, data) is None


@pytest.mark.parametrize(
    ("text", "unmapped", "expected"),
    [
        pytest.param("word " * 20, 0, True, id="text"),
        pytest.param("文字" * 20, 0, True, id="chinese"),
        pytest.param("word " * 7, 0, False, id="28-characters"),
        pytest.param("word " * 20, 1, False, id="unmapped"),
        pytest.param("word " * 100, 4, True, id="a-few-unmapped"),
        pytest.param("word " * 20 + "\ufffd\ufffd", 0, False, id="replacement-characters"),
        pytest.param("word " * 20 + "\ue001\ue002", 0, False, id="private-use"),
        pytest.param("word " * 20 + "\x01\x02", 0, False, id="control-characters"),
        pytest.param("", 0, False, id="empty"),
    ],
)
def test_garbage_is_no_text(text: str, unmapped: int, expected: bool) -> None:  # noqa: FBT001
    assert is_readable(text, unmapped) is expected

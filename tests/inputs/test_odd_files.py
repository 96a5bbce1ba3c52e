"""Odd files of all formats: each page is sent upright and in its colours, or fails with its class."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import PageError, UnsupportedImageError
from pipeline.inputs.conversion import Converter
from pipeline.inputs.image import ImageFile
from pipeline.records import Payload
from tests.inputs.images import RED, VENDOR, WHITE, check, encode, marked, prepare, prepare_next, put, sent_image
from tests.odd_files import HEIC, SMALL_PX, OddFile, odd_files

NO_MARK = {"noise.jpg"}


def outcomes(path: Path) -> list[Payload | PageError]:
    """Return what becomes of each page of a file."""
    image, converter, ended = ImageFile(path, VENDOR), Converter(), list[Payload | PageError]()
    while len(ended) < image.pages:
        try:
            ended.append(prepare_next(image, len(ended) + 1, converter))
        except PageError as exc:
            ended.append(exc)
    return ended


def shows_the_mark(page: Image.Image) -> bool:
    """Return whether a page is white with a corner that is red, or dark without any colour."""
    pixels = page.convert("RGB")
    left, top = ((page.width - SMALL_PX[0]) // 2, 0) if page.width <= 120 and page.height <= 180 else (0, 0)
    corner, *others = (
        pixels.getpixel(place)
        for place in ((left + 10, top + 10), (page.width - left - 5, top + 10), (left + 10, page.height - 5))
    )
    is_marked = is_like(corner, RED) or any(is_like(corner, (level,) * 3) for level in (0, 60))
    return is_marked and all(is_like(other, WHITE) for other in others)


def is_like(seen: object, colour: Sequence[int]) -> bool:
    assert isinstance(seen, tuple)
    return all(abs(one - other) < 20 for one, other in zip(seen, colour, strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "odd"), [pytest.param(name, odd, id=name) for name, odd in odd_files().items()])
def test_each_page_ends_as_its_manifest_says(tmp_path: Path, name: str, odd: OddFile) -> None:
    ended = outcomes(put(tmp_path / name, odd.data))
    assert [_state(outcome) for outcome in ended] == list(odd.pages), [str(outcome)[:100] for outcome in ended]
    for payload in ended:
        if isinstance(payload, Payload):
            assert (sent_image(payload) == odd.data) == odd.is_sent_unchanged
            assert shows_the_mark(check(payload)) or name in NO_MARK


def _state(outcome: Payload | PageError) -> str:
    if isinstance(outcome, PageError):
        return outcome.name
    assert outcome.prep is not None
    return outcome.prep.format


def test_the_orientation_in_the_exif_block_of_a_heic_turns_nothing(file: Path) -> None:
    """Its own property is what turns it, and the decoder does that. Source: ISO/IEC 23008-12, 6.5.10."""
    page = check(prepare(put(file, (HEIC / "exif-orientation.heic").read_bytes()), 1, VENDOR))
    assert page.size == (180, 120)


def test_without_the_extra_a_heic_names_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UnsupportedImageError) as caught:
        prepare(put(file, (HEIC / "page.heic").read_bytes()), 1, VENDOR)
    assert str(caught.value) == "HEIC needs the extra heic: pip install 'pagemill[heic]'"


def test_a_large_jpeg_2000_is_decoded_at_half_of_its_size(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    load = Image.Image.resize

    def note_size(image: Image.Image, *arguments: object, **options: object) -> Image.Image:
        decoded.append(image.size)
        return load(image, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", note_size)
    check(prepare(put(file, encode(marked((8200, 2800)), "JPEG2000")), 1, VENDOR))
    assert decoded == [(4100, 1400)]

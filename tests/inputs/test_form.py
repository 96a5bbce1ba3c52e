"""The best form of a page is chosen without encoding it twice."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from pipeline.inputs import form
from pipeline.inputs.encoding import encode
from pipeline.inputs.form import choose_form, save_jpeg, save_png
from pipeline.wire import Limits
from tests.inputs.images import noise

QUALITY = 92
A5_PX = (1240, 1754)


def typed(mode: str = "L", size_px: tuple[int, int] = A5_PX) -> Image.Image:
    """Return a page of anti-aliased type."""
    page = Image.new("L", (size_px[0] * 2, size_px[1] * 2), "white")
    draw = ImageDraw.Draw(page)
    for y in range(120, page.height - 160, 80):
        draw.text((120, y), f"{y}: nothing of what was paid for is ever lost " * 2, fill="black", font_size=44)
    return page.resize(size_px, Image.Resampling.LANCZOS).convert(mode)


def scanned(mode: str = "L") -> Image.Image:
    """Return a page of type with the noise of a scanner."""
    page = typed(mode)
    return Image.blend(page, noise(page.size, mode), 0.06).filter(ImageFilter.GaussianBlur(0.6))


def photograph() -> Image.Image:
    return noise((62, 88)).resize(A5_PX, Image.Resampling.BICUBIC)


def screenshot() -> Image.Image:
    page = Image.new("RGB", A5_PX, (246, 246, 249))
    draw = ImageDraw.Draw(page)
    for row in range(30):
        draw.rectangle((40, 20 + row * 56, 1200, 66 + row * 56), fill=(255, 255, 255), outline=(30, 90, row * 8))
        draw.text((60, 30 + row * 56), f"Message {row}", fill=(20, 20, 20), font_size=24)
    return page


PAGES = [
    pytest.param(typed().point(lambda level: 255 * (level > 128)), "1", "png", id="bitonal"),
    pytest.param(typed().point(lambda level: 255 * (level > 128)).convert("RGB"), "1", "png", id="bitonal-in-colour"),
    pytest.param(typed(), "L", "png", id="clean-type"),
    pytest.param(typed("RGB"), "L", "png", id="grey-in-colour"),
    pytest.param(screenshot(), "RGB", "png", id="screenshot"),
    pytest.param(scanned(), "L", "jpeg", id="grey-scan"),
    pytest.param(scanned("RGB"), "RGB", "jpeg", id="colour-scan"),
    pytest.param(photograph(), "RGB", "jpeg", id="photograph"),
    pytest.param(photograph().convert("L"), "L", "jpeg", id="grey-photograph"),
]


@pytest.mark.parametrize(("page", "mode", "image_format"), PAGES)
def test_the_form_is_the_smaller_one(page: Image.Image, mode: str, image_format: str) -> None:
    encoded = encode(page, 1.0, Limits(), QUALITY)
    sent = Image.open(io.BytesIO(encoded.data))
    assert (encoded.format, sent.mode) == (image_format, mode)
    assert len(encoded.data) <= min(len(save_png(page)), len(save_jpeg(page, QUALITY)))
    if image_format == "png":
        assert sent.convert("RGB").tobytes() == page.convert("RGB").tobytes()


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the pixels of each image that is encoded, as it grows."""
    pixels: list[int] = []
    save = form._save

    def count(image: Image.Image, image_format: str, **options: int) -> bytes:
        pixels.append(image.width * image.height)
        return save(image, image_format, **options)

    monkeypatch.setattr(form, "_save", count)
    return pixels


@pytest.mark.parametrize(("page", "mode", "image_format"), PAGES)
def test_a_page_is_encoded_once(page: Image.Image, mode: str, image_format: str, encodings: list[int]) -> None:
    del mode, image_format
    encode(page, 1.0, Limits(), QUALITY)
    whole = page.width * page.height
    assert [pixels for pixels in encodings if pixels == whole] == [whole]
    assert sum(encodings) < 1.3 * whole


def test_a_page_far_above_the_byte_limit_is_not_encoded_at_each_quality(encodings: list[int]) -> None:
    page = scanned("RGB")
    most = len(save_jpeg(page, 60))
    encodings.clear()
    assert encode(page, 1.0, Limits(max_bytes=most), QUALITY).size_px == page.size
    assert encodings.count(page.width * page.height) <= 2


@pytest.mark.parametrize("page", [photograph(), scanned("RGB"), scanned(), typed(), photograph().convert("L")])
def test_the_estimate_of_a_jpeg_is_near(page: Image.Image) -> None:
    assert 0.7 < len(save_jpeg(page, QUALITY)) / choose_form(page, QUALITY).estimate_jpeg_bytes(QUALITY) < 1.4


def test_one_spot_of_colour_or_grey_is_kept() -> None:
    """No band shows it."""
    page = typed().point(lambda level: 255 * (level > 128)).convert("RGB")
    for spot in ((255, 0, 0), (200, 200, 200)):
        page.putpixel((7, 3), spot)
        sent = Image.open(io.BytesIO(encode(page, 1.0, Limits(), QUALITY).data))
        assert sent.convert("RGB").getpixel((7, 3)) == spot


@settings(max_examples=80)
@given(st.integers(8, 300), st.integers(8, 600), st.sampled_from(["L", "RGB"]), st.integers(1, 300), st.integers())
def test_a_png_has_every_pixel_of_the_page(width_px: int, height_px: int, mode: str, colours: int, seed: int) -> None:
    page = noise((width_px, height_px), mode, seed)
    page = page.quantize(min(colours, 256)).convert(mode)
    chosen = choose_form(page, QUALITY)
    if chosen.is_png:
        sent = Image.open(io.BytesIO(save_png(chosen.image)))
        assert sent.convert("RGB").tobytes() == page.convert("RGB").tobytes()

"""Image files become arrays for the models."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.engine.pixels import decode_bgr, resize_line
from pipeline.errors import NotAnImageError, TruncatedImageError
from tests.rendering import encode, render


def test_pixels_are_in_the_order_blue_green_red() -> None:
    pixels = decode_bgr(encode(Image.new("RGB", (120, 110), (200, 100, 50))))
    assert pixels.shape == (110, 120, 3)
    assert pixels[0, 0].tolist() == [50, 100, 200]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_white(mode: str) -> None:
    picture = Image.new("RGBA", (120, 120), (0, 0, 0, 0)).convert(mode)
    buffer = BytesIO()
    picture.save(buffer, "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert decode_bgr(buffer.getvalue())[5, 5].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("mode", "image_format"), [("1", "PNG"), ("L", "PNG"), ("CMYK", "JPEG"), ("L", "WEBP")])
def test_white_is_white_in_every_mode(mode: str, image_format: str) -> None:
    page = Image.new("RGB", (120, 120), "white").convert(mode)
    assert decode_bgr(encode(page, image_format)).min() >= 250


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    picture = Image.fromarray(np.full((120, 120), 0x8000, dtype=np.uint16))
    assert decode_bgr(encode(picture))[0, 0].tolist() == [128, 128, 128]


def test_only_the_first_frame_of_an_animation_is_decoded() -> None:
    buffer = BytesIO()
    frames = [Image.new("RGB", (120, 120), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode_bgr(buffer.getvalue())[0, 0].tolist() == [0, 0, 255]


def test_the_exif_orientation_is_not_applied() -> None:
    """API contract, part 2: the service takes pixels as stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    Image.new("RGB", (200, 120)).save(buffer, "JPEG", exif=exif)
    assert decode_bgr(buffer.getvalue()).shape == (120, 200, 3)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_half_a_file_is_a_truncated_image(image_format: str) -> None:
    image = encode(render("half of this page is missing"), image_format)
    with pytest.raises(TruncatedImageError):
        decode_bgr(image[: len(image) // 2])


def test_data_in_no_image_format_are_not_an_image() -> None:
    with pytest.raises(NotAnImageError):
        decode_bgr(b"no image at all")


def test_a_line_that_is_enlarged_is_smooth_and_one_that_is_reduced_keeps_its_mean() -> None:
    """A diagonal stroke of 12 px, four times as large, has no step that is as wide as a pixel of before."""
    stroke = np.repeat(np.where(np.eye(12) > 0, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    large = resize_line(stroke, (48, 48))[:, :, 0].astype(int)
    assert large.shape == (48, 48)
    assert (np.diff(large, axis=1) != 0).mean() > 0.2
    noise = np.random.default_rng(1).integers(0, 256, (96, 200, 3), dtype=np.uint8)
    assert resize_line(noise, (100, 48)).mean() == pytest.approx(noise.mean(), abs=1)

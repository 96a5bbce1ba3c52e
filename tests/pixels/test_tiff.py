"""TIFF: directories, one for each page, and what cannot be decoded."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pixels.opening import open_tiff_page
from pipeline.pixels.tiff import (
    PREFIXES,
    compression_name,
    describe_samples,
    directory_offsets,
    first_offset_field,
    read_directory,
    unsupported_compression,
)
from tests.pixels.tiffs import Order, tiff, tiff_page

PAGES = [tiff_page([level] * 6, 3) for level in (10, 20, 30)]


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_every_page_is_found_and_opened_alone(order: Order, big: bool) -> None:  # noqa: FBT001 - a parameter
    pages = [tiff_page([level] * 6, 3, order=order) for level in (100, 200, 65535)]
    data = tiff(*pages, order=order, big=big)
    offsets = directory_offsets(data)
    assert [read_directory(data, offset)[256] for offset in offsets] == [(3,)] * 3
    file = io.BytesIO(data)
    for page in (2, 0, 1):
        image = open_tiff_page(file, offsets[page])
        image.load()
        assert image.convert("I").getpixel((0, 0)) == (100, 200, 65535)[page]


def test_a_chain_that_comes_back_ends() -> None:
    data = bytearray(tiff(*PAGES))
    offsets = directory_offsets(bytes(data))
    data[-4:] = offsets[0].to_bytes(4, "little")
    assert directory_offsets(bytes(data)) == offsets


@pytest.mark.parametrize("cut", [1, 4, 30, 60])
def test_a_directory_that_is_cut_off_counts(cut: int) -> None:
    assert len(directory_offsets(tiff(*PAGES)[:-cut])) == 3


@pytest.mark.parametrize(
    ("compression", "name"),
    [
        (1, None),
        (5, None),
        (7, None),
        (50000, None),
        (34712, "JPEG 2000 in TIFF"),
        (33003, "JPEG 2000 in TIFF"),
        (34661, "JBIG in TIFF"),
        (34887, "LERC in TIFF"),
        (52546, "JPEG XL in TIFF"),
        (4711, "number 4711 in TIFF"),
    ],
)
def test_a_compression_without_a_decoder_is_named(compression: int, name: str | None) -> None:
    data = tiff(tiff_page([1], 1, compression=compression))
    tags = read_directory(data, directory_offsets(data)[0])
    assert unsupported_compression(tags) == name
    assert name in {None, compression_name(compression)}


def test_samples_are_described() -> None:
    data = tiff(tiff_page([0.5] * 5, 1, bits=64, sample_format=3, channels=5))
    tags = read_directory(data, directory_offsets(data)[0])
    assert describe_samples(tags) == "5 × 64 floating-point bits, photometric 1, in TIFF"
    assert describe_samples({}) is None
    assert describe_samples({256: (3,), 257: (3,)}) is None


@given(st.binary(max_size=300), st.sampled_from(PREFIXES), st.integers(0, 400))
def test_any_bytes_have_directories(data: bytes, prefix: bytes, kept: int) -> None:
    for file in (prefix + data, prefix + b"\x08\0\0\0" + data, tiff(*PAGES)[:kept] + data):
        for offset in directory_offsets(file):
            read_directory(file, offset)
            first_offset_field(file, offset)

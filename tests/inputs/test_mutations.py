"""Mutated files of all formats: each page is sent, or fails with its class; see also `benchmarks/mutated_files.py`."""

import random
from pathlib import Path

import pytest

from pipeline.errors import PageError
from pipeline.inputs.conversion import Converter
from pipeline.inputs.image import ImageFile
from tests.inputs.images import VENDOR, check, prepare_next, put, sent_image
from tests.inputs.mutations import mutate, whole_files

FILES_PER_KIND = 12
MAX_PAGES = 12


@pytest.mark.parametrize("kind", whole_files())
def test_the_whole_file_is_good(file: Path, kind: str) -> None:
    """Otherwise its mutations would test nothing."""
    image, converter = ImageFile(put(file, whole_files()[kind]), VENDOR), Converter()
    check(prepare_next(image, 1, converter))
    for page in range(2, image.pages + 1):
        check(prepare_next(image, page, converter))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", whole_files())
def test_nothing_but_page_errors_comes_of_a_mutated_file(file: Path, kind: str) -> None:
    for number in range(FILES_PER_KIND):
        put(file, mutate(whole_files()[kind], random.Random(f"{kind} {number}")))
        image, converter, page = ImageFile(file, VENDOR), Converter(), 1
        while page <= min(image.pages, MAX_PAGES):
            try:
                payload = prepare_next(image, page, converter)
            except PageError:
                pass
            else:
                if sent_image(payload) != file.read_bytes():
                    check(payload)
            page += 1

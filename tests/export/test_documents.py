"""Documents: files, or folders in natural order."""

import os

from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.documents import Document, natural_key, read_documents
from pipeline.records import State
from pipeline.workspace.finished_pages import FinishedPage


def pages(*names: str) -> list[FinishedPage]:
    """Return pages named "source#number", in the order of the index."""
    found = []
    for offset, name in enumerate(names):
        source, _, number = name.partition("#")
        page = FinishedPage(
            os.fsencode(source), int(number or 1), State.DONE, "2026", in_doubt=False, id=f"id {name}#1", offset=offset
        )
        found.append(page)
    return sorted(found, key=lambda page: (page.source, page.page))


def describe(document: Document) -> tuple[str, list[str]]:
    return document.name, [f"{os.fsdecode(page.source)}#{page.page}" for page in document.pages]


def test_a_file_is_a_document_with_its_pages_in_order() -> None:
    found = read_documents(pages("b.tif#2", "b.tif#10", "b.tif#1", "a.png"), "file")
    assert list(map(describe, found)) == [("a.png", ["a.png#1"]), ("b.tif", ["b.tif#1", "b.tif#2", "b.tif#10"])]


def test_a_folder_is_one_document_although_its_subfolders_sort_between_its_files() -> None:
    found = read_documents(pages("a/p10.png", "a/p2.png", "a/b/x.png", "a/c.png", "top.png"), "folder")
    assert list(map(describe, found)) == [
        ("", ["top.png#1"]),
        ("a", ["a/c.png#1", "a/p2.png#1", "a/p10.png#1"]),
        ("a/b", ["a/b/x.png#1"]),
    ]


def test_pages_keep_their_fields_through_the_sorting() -> None:
    [page] = pages("a/1.png")
    [document] = read_documents([page], "folder")
    assert document.pages == [page]


@given(st.lists(st.integers(0, 10**12), unique=True))
def test_numbers_in_names_sort_by_value(numbers: list[int]) -> None:
    names = [b"p%d.png" % number for number in numbers]
    assert sorted(names, key=natural_key) == [b"p%d.png" % number for number in sorted(numbers)]


def test_equal_contents_have_equal_split_keys() -> None:
    one, two = (
        Document(name, [FinishedPage(name.encode(), 1, State.DONE, "", in_doubt=False, id="sha256:ab#1", offset=0)])
        for name in "ab"
    )
    assert one.split_key() == two.split_key()
    assert one.digest() != two.digest()

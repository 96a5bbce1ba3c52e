"""Finished pages by line: all of them, in the file's order."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import State
from pipeline.workspace.file_order import sort_by_line
from pipeline.workspace.finished_pages import FinishedPage

PAGES = st.builds(
    FinishedPage,
    source=st.binary(max_size=20),
    page=st.integers(1, 2**31),
    state=st.sampled_from([State.DONE, State.DUPLICATE, State.SKIPPED]),
    added=st.text(st.characters(exclude_categories=["Cs"])),
    in_doubt=st.booleans(),
    id=st.text(st.characters(exclude_categories=["Cs"])),
    offset=st.integers(0, 2**60),
)


@given(st.lists(PAGES, unique_by=lambda page: page.offset))
def test_all_pages_come_in_the_order_of_their_lines(pages: list[FinishedPage]) -> None:
    assert list(sort_by_line(pages)) == sorted(pages, key=lambda page: page.offset)

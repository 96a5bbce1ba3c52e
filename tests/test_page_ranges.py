"""Lists of pages."""

import pytest

from pipeline.config.load import load_config
from pipeline.config.page_ranges import PageRanges
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-3,10-", [1, 2, 3, 10, 11, 12]),
        ("2", [2]),
        (" 2 , 4 - 5 ", [2, 4, 5]),
        ("12-", [12]),
        ("3,1-2", [1, 2, 3]),
    ],
)
def test_a_list_names_pages(text: str, expected: list[int]) -> None:
    ranges = PageRanges.parse(text)
    assert [page for page in range(1, 13) if page in ranges] == expected


@pytest.mark.parametrize("text", ["", "0", "-3", "3-1", "a", "1,", "1--2", "1.5", "１"])
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="page"):
        PageRanges.parse(text)
    with pytest.raises(UsageError, match=r"input\.pages: '.*' is no list of pages such as 1-3,10-"):
        load_config(flags={("input", "pages"): text})

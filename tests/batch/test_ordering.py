"""Files in another order, and an even sample of them."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec
import pytest

from pipeline.batch.ordering import arrange
from pipeline.config import InputConfig
from pipeline.errors import MissingFileError
from pipeline.records import FileStat, IgnoredFiles, SourceFile, State
from tests.fakes import serve_fake
from tests.pages import write_page, write_pages
from tests.runs import results, run_here

FILES = [
    SourceFile("a", Path("a"), FileStat(30, 100)),
    SourceFile("b", None),
    SourceFile("c", Path("c"), FileStat(10, 300), {"box": "1"}),
    SourceFile("d", Path("d"), None, problem=MissingFileError("no such file")),
    SourceFile("e", Path("e"), FileStat(20, 200)),
]


async def stream(files: Sequence[SourceFile | IgnoredFiles]) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
    """Yield these."""
    for file in files:
        yield file


async def names(files: Sequence[SourceFile | IgnoredFiles], **settings: object) -> list[str]:
    """Return the names of the files as arranged by these settings; of ignored ones, their kind."""
    config = msgspec.convert(settings, InputConfig)
    found = [file async for file in arrange(stream(files), config)]
    return [file.kind if isinstance(file, IgnoredFiles) else file.name for file in found]


async def test_a_file_comes_back_as_it_was() -> None:
    found = [file async for file in arrange(stream(FILES), InputConfig(order="smallest"))]
    assert sorted(map(repr, found)) == sorted(map(repr, FILES))


@pytest.mark.parametrize(
    ("order", "expected"), [("name", "abcde"), ("smallest", "ceabd"), ("newest", "ceabd")], ids=str
)
async def test_files_whose_size_is_not_known_come_last(order: str, expected: str) -> None:
    assert "".join(await names(FILES, order=order)) == expected


@pytest.mark.parametrize(
    ("number", "sample", "expected"),
    [(10, 1, [5]), (10, 2, [2, 7]), (10, 5, [1, 3, 5, 7, 9]), (10, 10, list(range(10))), (3, 9, [0, 1, 2])],
)
async def test_a_sample_is_even(number: int, sample: int, expected: list[int]) -> None:
    files = [SourceFile(str(index), None) for index in range(number)]
    assert await names(files, sample=sample) == [str(index) for index in expected]


async def test_what_is_ignored_is_no_part_of_a_sample() -> None:
    files: list[SourceFile | IgnoredFiles] = [IgnoredFiles(".txt", 2), *FILES]
    assert await names(files, sample=1, order="newest") == [".txt", "c"]


async def test_the_first_calls_go_to_the_smallest_files(scans: Path, tmp_path: Path) -> None:
    for number, edge_px in enumerate((400, 200, 300, 120)):
        write_page(scans / f"{number}.bmp", number, size_px=(edge_px, edge_px))
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url, input={"order": "smallest"}, run={"max_calls": 2, "jobs": 1})
    assert [line["source"] for line in results(tmp_path / "out")] == ["3.bmp", "1.bmp"]


async def test_a_sample_leaves_the_rest_pending_and_is_the_same_again(scans: Path, tmp_path: Path) -> None:
    write_pages(scans / "a", 6)
    write_pages(scans / "b", 6, first_seed=20)
    async with serve_fake() as fake:
        for _ in range(2):
            summary = await run_here(scans, tmp_path / "out", fake.url, input={"sample": 4})
            assert (summary.exit_code, summary.totals[State.DONE], summary.pending) == (10, 4, 8)
            assert summary.reason == "--sample 4 is taken"
            assert len(fake.calls) == 4
        whole = await run_here(scans, tmp_path / "out", fake.url, input={"sample": 100})
        assert (whole.exit_code, whole.totals[State.DONE], whole.pending, len(fake.calls)) == (0, 12, 0, 12)
    assert [line["source"][0] for line in results(tmp_path / "out")[:4]].count("a") == 2

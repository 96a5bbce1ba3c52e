"""`run --positions`: which pages are sent for them, and what their records hold."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import Call, serve_fake
from tests.pages import write_page
from tests.runs import results, run_here
from tests.tall_pages import SMALL, TILES, write_tall_page

BOX = [10.0, 20.0, 110.0, 20.0, 110.0, 40.0, 10.0, 40.0]


def answer(call: Call, **fields: Any) -> web.Response:
    return web.json_response({"id": "doc", "content": "one line", "timestamp": 1640995200000, **fields})


def answer_with_lines(call: Call) -> web.Response:
    """Answer each endpoint as the service does."""
    if not call.request.path.endswith("advanced-recognition"):
        return answer(call)
    return answer(call, ocrResult={"words_info": [{"text": "one line", "location": BOX}]})


async def test_lines_are_recorded_only_when_they_are_asked_for(tmp_path: Path) -> None:
    write_page(tmp_path / "scans/a.png", 1)
    async with serve_fake(answer_with_lines) as fake:
        await run_here(tmp_path / "scans", tmp_path / "plain", fake.url)
        await run_here(tmp_path / "scans", tmp_path / "placed", fake.url, run={"positions": True})
    [plain], [placed] = results(tmp_path / "plain"), results(tmp_path / "placed")
    assert not plain.keys() & {"lines", "operation", "pixels"}
    assert placed["lines"] == [{"text": "one line", "box": BOX}]
    assert placed["operation"] == "advanced-recognition"
    assert placed["pixels"] == "120x120"
    assert placed["text"] == plain["text"]


async def test_a_page_without_positions_is_sent_again_for_them_once(tmp_path: Path) -> None:
    write_page(tmp_path / "scans/a.png", 1)
    write_page(tmp_path / "scans/copy.png", 1)
    async with serve_fake(answer_with_lines) as fake:
        for positions in (False, True, True, False):
            summary = await run_here(tmp_path / "scans", tmp_path / "out", fake.url, run={"positions": positions})
            assert summary.exit_code == 0
        assert len(fake.calls) == 2
    lines = results(tmp_path / "out")
    assert [("lines" in line, line["duplicate_of"] is None) for line in lines] == [
        (False, True), (False, False), (True, True), (True, False),
    ]  # fmt: skip
    assert [line.get("again") for line in lines] == [None, None, True, None]


async def test_lines_of_tiles_are_in_px_of_the_page(tmp_path: Path) -> None:
    write_tall_page(tmp_path / "scans/tall.png")
    async with serve_fake(answer_with_lines) as fake:
        for positions in (False, True, True):
            run = {"positions": positions}
            await run_here(tmp_path / "scans", tmp_path / "out", fake.url, run=run, prepare=SMALL)
        assert len(fake.calls) == 2 * TILES
    plain, placed = results(tmp_path / "out")
    assert "lines" not in plain
    boxes = [tile["box"] for tile in placed["prep"]["tiles"]]
    expected = [top + 20 * max(1, (bottom - top) / SMALL["max_edge_px"]) for _, top, _, bottom in boxes]
    assert [line["box"][1] for line in placed["lines"]] == pytest.approx(expected, abs=0.1)
    assert placed["operation"] == "advanced-recognition"


async def test_a_service_without_positions_is_not_paid_each_night(tmp_path: Path) -> None:
    write_page(tmp_path / "scans/a.png", 1)
    async with serve_fake(answer) as fake:
        for _ in range(2):
            await run_here(tmp_path / "scans", tmp_path / "out", fake.url, run={"positions": True})
        assert len(fake.calls) == 1
    [line] = results(tmp_path / "out")
    assert (line["lines"], line["note"], line["text"]) == ([], "the reply has no positions", "one line")

"""A long screenshot against the real server: every numbered line is in the record once."""

import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.accuracy import character_error_rate
from tests.engine_server import EngineServer
from tests.rendering import font, random_line
from tests.runs import results, run_here

pytestmark = pytest.mark.engine


def draw_lines(size_px: tuple[int, int], rng: random.Random) -> tuple[Image.Image, list[str]]:
    """Return a page of numbered lines of 32 px type, and the lines."""
    page = Image.new("RGB", size_px, "white")
    draw = ImageDraw.Draw(page)
    lines = [f"{number:04d} {random_line(rng, length=4)}" for number in range(1, (size_px[1] - 80) // 58)]
    for number, line in enumerate(lines):
        draw.text((60, 40 + 58 * number), line, "black", font(32))
    return page, lines


@pytest.mark.parametrize(
    ("size_px", "has_blank_rows", "calls"),
    [
        pytest.param((1080, 16_000), True, 4, id="tiles-meet-between-lines", marks=pytest.mark.deep),
        pytest.param((1080, 8100), False, 2, id="a-border-through-print"),
    ],
)
async def test_every_line_of_a_long_screenshot_is_read_once(
    scans: Path,
    tmp_path: Path,
    engine_server: EngineServer,
    size_px: tuple[int, int],
    *,
    has_blank_rows: bool,
    calls: int,
) -> None:
    """A texture in the paper leaves no row blank."""
    page, lines = draw_lines(size_px, random.Random(16))
    if not has_blank_rows:
        page = Image.blend(page, Image.effect_noise(size_px, 70).convert("RGB"), 0.25)
    page.save(scans / "screen.png")
    summary = await run_here(scans, tmp_path / "out", engine_server.base_url, key=engine_server.key)
    assert (summary.exit_code, summary.calls) == (0, calls)
    (record,) = results(tmp_path / "out")
    joints = {tile["joint"] for tile in record["prep"]["tiles"][1:]}
    assert joints == {"blank" if has_blank_rows else "overlap"}
    numbers = [line.split()[0] for line in record["text"].splitlines()]
    assert numbers == [line.split()[0] for line in lines]
    assert character_error_rate("\n".join(lines), record["text"]) < 0.005

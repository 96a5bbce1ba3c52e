"""Tall and wide pages with numbered rows, small enough to be cut quickly."""

from pathlib import Path

from PIL import Image, ImageDraw

from tests.rendering import font

SMALL = {"max_edge_px": 400, "min_edge_px": 50}
"""Settings under which a page of 120×1700 px is cut into four tiles."""
TILES = 4


def write_tall_page(path: Path, *, seed: int = 1, size_px: tuple[int, int] = (120, 1700), pitch_px: int = 20) -> Path:
    """Write a page with one short row of print per `pitch_px` and blank rows between; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page = Image.new("L", size_px, 255)
    draw = ImageDraw.Draw(page)
    for row in range(size_px[1] // pitch_px):
        draw.text((6, row * pitch_px + 2), f"{seed} row {row:03d}", 0, font(10))
    page.save(path)
    return path

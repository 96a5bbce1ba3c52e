"""Small real images of different contents."""

from pathlib import Path

from PIL import Image


def write_page(path: Path, seed: int, *, size_px: tuple[int, int] = (120, 120)) -> Path:
    """Write an image whose pixels depend on the seed, in the format of the suffix; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size_px, ((seed * 37) % 256, (seed // 7) % 256, seed % 256))
    image.putpixel((seed % size_px[0], (seed // size_px[0]) % size_px[1]), (255, 255, 255))
    image.save(path, quality=95) if path.suffix.lower() in {".jpg", ".jpeg"} else image.save(path)
    return path


def write_pages(directory: Path, count: int, *, first_seed: int = 0) -> list[Path]:
    """Write PNG pages of different contents; return their paths."""
    return [write_page(directory / f"page-{seed:04}.png", seed) for seed in range(first_seed, first_seed + count)]

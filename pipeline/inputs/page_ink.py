"""The ink of a page: by how much each pixel is darker than the paper around it, on a small copy."""

from typing import Final

from PIL import Image, ImageChops, ImageFilter

_PAPER_PX: Final = 16
"""Edge of the squares whose mean is the paper's level nearby, so that shadows and grey areas are no ink."""


def extract_ink(page: Image.Image, edge_px: int) -> Image.Image:
    """Return the ink of a page in mode L, 0 where there is none.

    Args:
        page: In mode L or RGB.
        edge_px: Longest edge of the copy.
    """
    grey = shrink(page, edge_px).convert("L")
    means = grey.resize([max(1, edge // _PAPER_PX) for edge in grey.size], Image.Resampling.BOX)
    paper = means.filter(ImageFilter.MaxFilter(3)).resize(grey.size, Image.Resampling.BILINEAR)
    return ImageChops.subtract(paper, grey)


def shrink(image: Image.Image, edge_px: int) -> Image.Image:
    """Return an image with this longest edge, each pixel the mean of its pixels; a smaller one itself."""
    scale = edge_px / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(edge * scale)) for edge in image.size], Image.Resampling.BOX)

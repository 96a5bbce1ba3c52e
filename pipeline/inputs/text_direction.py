"""By how much a page is turned: the engine's orientation model looks at views of its text (extra `local`).

Where the lines are is not known here, so square views of several sizes are cut out where the ink is densest; the model
recognises type of 14 to 48 px in a view (`pipeline.engine.orientation`). Each view adds to the evidence for a turn what
its probabilities say, and a picture, whose turns are all as probable, adds nothing. A page is turned only when a second
look, at the turned page, says that it is upright: drawings and handwriting that the model takes for type say the same
of both.

Only the model is loaded, neither OpenCV nor the recognisers: 75 MB in a worker.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from PIL import Image

from pipeline.engine.runtime import Backend, choose_backend, find_models
from pipeline.errors import EngineError, UsageError
from pipeline.inputs.page_ink import extract_ink
from pipeline.pixels.orientation import TURNED_BY, turn_upright

if TYPE_CHECKING:
    from pipeline.engine.orientation_model import OrientationModel

VIEWS_PER_EDGE: Final = (16, 8, 4, 2)
"""Views along the page's short edge, by size: the type of a page may be 1/200 to 1/10 of its width."""

MIN_EVIDENCE: Final = 5.0
"""Least natural logarithm of the ratio between the best turn and the next, in each look. Measured: at least 5.3 for 49
real pages in each position; at most 4.9 for photographs and noise, and 10 for scribbles, which fail the second look."""

_VIEW_PX: Final = 224
_MIN_VIEW_PX: Final = 48
_INK_PX: Final = 1400
_MIN_INK: Final = 2
"""Mean level of ink from which a place may hold text."""
_FLOOR: Final = 0.02
"""Added to each probability, so that no single view decides."""


def require_model() -> Backend:
    """Return the runtime of the orientation model; nothing is imported.

    Raises:
        UsageError: it is not installed; the message gives the command that installs it.
    """
    try:
        backend = _choose_backend()
        find_models("fast")
    except EngineError as exc:
        raise UsageError(f"--auto-rotate needs the extra local: {exc}") from exc
    return backend


def measure_turn_deg(page: Image.Image) -> int:
    """Return the clockwise turn that makes the text of a page upright: 0, 90, 180 or 270; 0 where it is not sure.

    Args:
        page: In mode L or RGB.
    """
    turn_deg = choose_turn(_classify(page))
    if turn_deg == 0:
        return 0
    turned = turn_upright(page, TURNED_BY[turn_deg])
    return turn_deg if is_upright(_classify(turned)) else 0


def choose_turn(probabilities: Sequence[Sequence[float]]) -> int:
    """Return the clockwise turn for which the evidence is strong; 0 for none.

    Args:
        probabilities: For each view, those of having been turned clockwise by 0, 90, 180 and 270 degrees.
    """
    best, evidence = _weigh(probabilities)
    return (360 - 90 * best) % 360 if evidence >= MIN_EVIDENCE else 0


def is_upright(probabilities: Sequence[Sequence[float]]) -> bool:
    """Return whether the evidence is strong that a page is not turned."""
    best, evidence = _weigh(probabilities)
    return best == 0 and evidence >= MIN_EVIDENCE


def _weigh(probabilities: Sequence[Sequence[float]]) -> tuple[int, float]:
    """Return the most probable turn as its index, and by how much its logarithm exceeds that of the next."""
    sums = [sum(math.log(view[turn] + _FLOOR) for view in probabilities) for turn in range(4)]
    ordered = sorted(range(4), key=sums.__getitem__, reverse=True)
    return ordered[0], sums[ordered[0]] - sums[ordered[1]]


def _classify(page: Image.Image) -> list[list[float]]:
    """Return the probabilities of each view, one after the other: sixteen at once take 80 MB more."""
    import numpy as np  # noqa: PLC0415 - of the extra local, in the worker

    model = _load_model()
    return [
        probabilities
        for view in cut_views(page)
        for probabilities in model.classify([np.asarray(view.convert("RGB"))[:, :, ::-1]])
    ]


def cut_views(page: Image.Image) -> Iterator[Image.Image]:
    """Yield views of 224 × 224 px: of each size one in each quarter of the page, where its ink is densest."""
    ink = extract_ink(page, _INK_PX)
    for views in VIEWS_PER_EDGE:
        edge_px = min(page.size) / views
        if edge_px < _MIN_VIEW_PX:
            continue
        columns, rows = (max(2, round(edge / edge_px)) for edge in page.size)
        density = ink.resize((columns, rows), Image.Resampling.BOX)
        for top, bottom in ((0, rows // 2), (rows // 2, rows)):
            for left, right in ((0, columns // 2), (columns // 2, columns)):
                quarter = density.crop((left, top, right, bottom)).tobytes()
                densest = max(quarter)
                if densest >= _MIN_INK:
                    down, across = divmod(quarter.index(densest), right - left)
                    centre = (left + across + 0.5) / columns, (top + down + 0.5) / rows
                    yield _cut(page, centre, edge_px)


def _cut(page: Image.Image, centre: tuple[float, float], edge_px: float) -> Image.Image:
    """Return a square of the page around a place, which is given in shares of its edges, moved into the page."""
    left, top = (
        min(max(0.0, share * edge - edge_px / 2), edge - edge_px) for share, edge in zip(centre, page.size, strict=True)
    )
    box = (left, top, left + edge_px, top + edge_px)
    resampling = Image.Resampling.BOX if edge_px > _VIEW_PX else Image.Resampling.BICUBIC
    return page.resize((_VIEW_PX, _VIEW_PX), resampling, box=box)


def _choose_backend() -> Backend:
    try:
        return choose_backend("onnxruntime")
    except EngineError:
        return choose_backend("openvino")


@cache
def _load_model() -> "OrientationModel":
    from pipeline.engine.orientation_model import OrientationModel  # noqa: PLC0415 - of the extra local, in the worker

    return OrientationModel(find_models("fast").orientation, _choose_backend(), 1, "f32")

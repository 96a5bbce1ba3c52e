"""Without the optional package for zstd, each use of it says which extra is missing."""

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.storage.zstd_frames import FrameReader, FrameWriter, decompress_blocks, read_table, require_zstd

FRAME = b"\x28\xb5\x2f\xfd\x20\x01\x09\x00\x00a"


def walk(path: Path) -> object:
    """Find the frames of a file without a table."""
    path.write_bytes(FRAME)
    with path.open("rb") as file:
        return read_table(file.fileno())


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda _: require_zstd("out/a.zst"), id="asked-for"),
        pytest.param(walk, id="frames"),
        pytest.param(lambda _: FrameReader().decompress(FRAME, 1), id="reader"),
        pytest.param(lambda _: FrameWriter(BytesIO()), id="writer"),
        pytest.param(lambda _: list(decompress_blocks(BytesIO(FRAME))), id="blocks"),
    ],
)
def test_the_extra_is_named(use: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(tmp_path / "a.zst")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UsageError, match=r"needs the extra zstd: pip install 'pagemill\[zstd\]'"):
        use(tmp_path / "a.zst")

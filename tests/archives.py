"""Archives of small pages, and what is wrong with hostile ones."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

METHODS = {"stored": 0, "deflate": 8, "bzip2": 12, "lzma": 14}


def page(seed: int, image_format: str = "PNG") -> bytes:
    """Return a small image whose pixels depend on the seed."""
    image = Image.new("RGB", (120, 120), ((seed * 37) % 256, (seed // 7) % 256, seed % 256))
    image.putpixel((seed % 120, (seed // 120) % 120), (255, 255, 255))
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def pages(*names: str) -> dict[str, bytes]:
    """Return a different page for each name, in the format of its suffix."""
    formats = {"tif": "TIFF", "jpg": "JPEG", "bmp": "BMP"}
    return {name: page(seed, formats.get(name.rpartition(".")[2], "PNG")) for seed, name in enumerate(names, 1)}


def write_zip(path: Path, members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a ZIP; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    """Write a TAR, compressed as the mode says ("w:gz"); return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def patch(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes of the same number in a file, wherever they are."""
    assert len(old) == len(new)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))

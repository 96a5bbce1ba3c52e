"""Static files as a browser gets them: bytes, media type and version."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

STATIC: Final[Traversable] = resources.files("pipeline.web") / "static"
"""The folder of the shared style and scripts."""

_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file.

    Attributes:
        body: The file's bytes.
        media_type: Its Content-Type.
        tag: Its ETag, made from the bytes.
    """

    body: bytes
    media_type: str
    tag: str


def load_assets(*folders: Traversable) -> dict[str, Asset]:
    """Return the files of the folders by name.

    Raises:
        ValueError: two folders have a file of one name.
    """
    assets: dict[str, Asset] = {}
    for folder in folders:
        for file in folder.iterdir():
            if file.name in assets:
                raise ValueError(f"two files are named {file.name}")
            suffix = file.name[file.name.rfind(".") :]
            body = file.read_bytes()
            assets[file.name] = Asset(body, _MEDIA_TYPES[suffix], hashlib.sha256(body).hexdigest()[:32])
    return assets

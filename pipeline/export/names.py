"""Paths of exported files: each source's name below DEST, whatever its name holds."""

import re
from hashlib import blake2b
from typing import Final
from urllib.parse import quote

from pipeline.export.documents import Document
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import decode_name, encode_name

_QUOTED: Final = '\\?*<>|:"%/'
_STRIPPED: Final = ". "
"""Windows, and the network filesystems that serve it, strip these from the end of a folder's name."""
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*:/)/")
_NUMBERED: Final = re.compile(r"\.\d{4,}\Z")
_MAX_PART_BYTES: Final = 200
"""NAME_MAX is 255 on the filesystems in use; the rest is for suffixes and a temporary file's name."""
_MAX_PATH_BYTES: Final = 2000
"""PATH_MAX is 4096 on Linux, and the destination's own path comes before; a URL may be longer."""


def export_path(name: str, suffix: str) -> str:
    """Return a relative path for a source's name, with the suffix added.

    It never leaves the folder: "." and ".." are quoted, and so are bytes that are not UTF-8, control characters, and
    characters that Windows forbids; absolute names are below a folder "%2F". Long parts are cut and marked with a
    digest, and so are the folders of a path that is too long. Names that differ have paths that differ. A folder's name
    never ends as a file's does: of the sources "x" and "x.txt/a", the first one's file would take the place of the
    second one's folder.

    Args:
        name: As in `Record.source`.
        suffix: Such as ".txt".
    """
    *folders, last = [_safe_part(part) for part in _split(name)]
    ending = suffix[suffix.rindex(".") :]
    path = "/".join(_shorten(_safe_folder(folder, ending), 0) for folder in folders)
    if len(path.encode()) > _MAX_PATH_BYTES:
        path = f"~{blake2b(path.encode(), digest_size=6).hexdigest()}"
    file = _shorten(last + suffix, len(suffix.encode()))
    return f"{path}/{file}" if path else file


def page_path(document: Document, record: ResultLine, suffix: str) -> str:
    """Return a relative path for a page: with its number before the suffix when its document has several.

    A name that ends like a page's number gets its own, too: it might be another file's page.

    Args:
        document: Of the page.
        record: Of the page.
        suffix: Such as ".txt".
    """
    name = decode_name(record.source_bytes())
    is_single = len(document.pages) == 1 and record.page == 1 and not _NUMBERED.search(name)
    return export_path(name, suffix if is_single else f".{record.page:04}{suffix}")


def _split(name: str) -> list[str]:
    """Return the parts of a name; an empty one is a "/" that must not be lost."""
    match = _SCHEME.match(name)
    return [part or "/" for part in (name if match is None else match[1] + name[match.end() :]).split("/")]


def _safe_part(part: str) -> str:
    if part in {".", ".."} or part.startswith(".pagemill"):
        return part.replace(".", "%2E", 1) if part != ".." else "%2E%2E"
    return "".join(map(_safe_character, part))


def _safe_folder(part: str, ending: str) -> str:
    if part.endswith(ending):
        return f"{part.removesuffix(ending)}%2E{ending[1:]}"
    kept = part.rstrip(_STRIPPED)
    return kept + "".join(f"%{ord(character):02X}" for character in part[len(kept) :])


def _safe_character(character: str) -> str:
    is_safe = character.isprintable() and character not in _QUOTED
    return character if is_safe else quote(encode_name(character), safe="")


def _shorten(part: str, suffix_bytes: int) -> str:
    encoded = part.encode()
    if len(encoded) <= _MAX_PART_BYTES:
        return part
    digest = blake2b(encoded, digest_size=6).hexdigest()
    suffix = encoded[len(encoded) - suffix_bytes :].decode() if suffix_bytes else ""
    return encoded[: _MAX_PART_BYTES - 13 - suffix_bytes].decode(errors="ignore") + "~" + digest + suffix

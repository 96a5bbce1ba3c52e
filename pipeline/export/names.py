"""Paths of exported files: each source's name below DEST, whatever its name holds."""

from hashlib import blake2b
from typing import Final
from urllib.parse import quote

from pipeline.export.documents import Document
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import decode_name, encode_name

_QUOTED: Final = '\\?*<>|:"%'
_MAX_PART_BYTES: Final = 200
"""NAME_MAX is 255 on the filesystems in use; the rest is for suffixes and a temporary file's name."""


def export_path(name: str, suffix: str) -> str:
    """Return a relative path for a source's name, with the suffix added.

    It never leaves the folder: absolute names lose their first "/", "." and ".." are quoted, and so are bytes that are
    not UTF-8, control characters, and what Windows forbids. Long parts are cut and marked with a digest.

    Args:
        name: As in `Record.source`.
        suffix: Such as ".txt".
    """
    parts = [_safe_part(part) for part in name.split("/") if part]
    parts = parts or ["_"]
    parts[-1] = _shorten(parts[-1] + suffix, len(suffix.encode()))
    return "/".join([_shorten(part, 0) for part in parts[:-1]] + parts[-1:])


def page_path(document: Document, record: ResultLine, suffix: str) -> str:
    """Return a relative path for a page: with its number before the suffix when its document has several.

    Args:
        document: Of the page.
        record: Of the page.
        suffix: Such as ".txt".
    """
    number = "" if len(document.pages) == 1 and record.page == 1 else f".{record.page:04}"
    return export_path(decode_name(record.source_bytes()), number + suffix)


def _safe_part(part: str) -> str:
    if part in {".", ".."} or part.startswith(".pagemill"):
        return part.replace(".", "%2E", 1) if part != ".." else "%2E%2E"
    return "".join(map(_safe_character, part))


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

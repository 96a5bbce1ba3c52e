"""Lines that another program has encoded anew: `jq -c`, a transfer with CR LF, an editor that adds a byte order mark.

The checksum is that of the bytes that pagemill wrote. When a line's values, encoded as pagemill encodes them, have this
checksum, nothing was lost.
"""

import itertools
import re
import zlib
from collections.abc import Iterator
from typing import Any, Final

import orjson

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BEGIN: Final = re.compile(rb'\{"id":(?:"(?:sha256|url):|null,)')
"""The beginning of a line; a quote inside a JSON string is escaped, so no text contains it."""
_FIELDS: Final = (
    *(
        "id",
        "source",
        "source_b64",
        "page",
        "tile",
        "sha256",
        "text",
        "duplicate_of",
        "duplicate_of_b64",
        "prep",
        "reply",
    ),
    *("number", "of", "box", "joint"),
    *("quality", "score", "threshold", "confidence", "mean", "minimum", "unread_ink", "unread_type", "precision"),
    *("attempt", "class", "message", "attempts", "retryable", "elapsed_ms", "added", "format", "width_px", "height_px"),
    *("bytes", "scale", "rotation_deg", "tiles", "corrections", "turned_deg", "deskewed_deg", "levels", "to_source"),
    *("timestamp", "host", "meta", "note", "runs", "again", "text_from", "skipped", "reason", "measure", "pixels"),
    *("lines", "operation", "review", "at", "base", "by", "browser", "checked", "original"),
)
"""The order in which pagemill writes the fields of a line, and of the objects in it."""

_OBJECTS: Final = ("prep", "corrections", "reply", "quality", "confidence", "skipped", "tile", "review", "original")
_FLOATS: Final = (
    *("scale", "deskewed_deg", "score", "threshold", "mean", "minimum", "unread_ink", "unread_type", "measure"),
)
_LISTS_OF_FLOATS: Final = ("to_source",)
_LISTS_OF_OBJECTS: Final = ("tiles", "lines")


def strip_framing(line: bytes) -> bytes:
    """Return a line without byte order mark and without the white space around it."""
    return line.removeprefix(_BYTE_ORDER_MARK).strip(b" \t\r\n")


def restore_line(line: bytes) -> bytes | None:
    """Return a line as pagemill wrote it when only its encoding was changed; None when its values were, too."""
    line = strip_framing(line)
    head, _, _ = line.rpartition(b',"crc32":')
    if line == _seal(head):
        return line
    try:
        fields = orjson.loads(line)
        crc32 = fields.pop("crc32")
        for candidate in _encodings(fields):
            head = orjson.dumps(candidate)[:-1]
            if zlib.crc32(head) == crc32:
                return _seal(head)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # no object, or none of pagemill's
        return None
    return None


def split_joined(line: bytes) -> list[bytes]:
    """Return the lines, whole or torn, that stand on one line because the newline between them is missing."""
    starts = [0, *(match.start() for match in _BEGIN.finditer(line, 1))]
    return [line[start:end] for start, end in itertools.pairwise([*starts, len(line)])]


def _seal(head: bytes) -> bytes:
    return b'%b,"crc32":%d}' % (head, zlib.crc32(head))


def _encodings(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the fields in the order found and in pagemill's; both also with floats: some programs write 1 for 1.0."""
    for ordered in (fields, _in_order(fields)):
        yield ordered
        yield _with_floats(ordered)


def _in_order(fields: dict[str, Any]) -> dict[str, Any]:
    ordered = dict(sorted(fields.items(), key=lambda item: _place(item[0])))
    for name in _OBJECTS:
        if isinstance(ordered.get(name), dict):
            ordered[name] = _in_order(ordered[name])
    for name in _LISTS_OF_OBJECTS:
        if isinstance(ordered.get(name), list):
            ordered[name] = [_in_order(each) if isinstance(each, dict) else each for each in ordered[name]]
    return ordered


def _with_floats(fields: dict[str, Any]) -> dict[str, Any]:
    changed = dict(fields)
    for name, value in fields.items():
        if name in _OBJECTS and isinstance(value, dict):
            changed[name] = _with_floats(value)
        elif name in _FLOATS and isinstance(value, int):
            changed[name] = float(value)
        elif name in _LISTS_OF_FLOATS and isinstance(value, list):
            changed[name] = [float(number) for number in value]
        elif name == "lines" and isinstance(value, list):
            changed[name] = [_line_with_floats(line) for line in value]
    return changed


def _line_with_floats(line: dict[str, Any]) -> dict[str, Any]:
    changed = {**line, "box": [float(number) for number in line["box"]]}
    return {**changed, "confidence": float(line["confidence"])} if "confidence" in line else changed


def _place(field: str) -> int:
    return _FIELDS.index(field) if field in _FIELDS else len(_FIELDS)

"""The lines of parts.jsonl: the texts of single tiles, from which the records of long pages are made."""

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from pipeline.positions import TextLine, line_fields
from pipeline.quality import Quality
from pipeline.records import PageId, Prep, Reply
from pipeline.tiles import Tile
from pipeline.workspace.checksums import append_checksum
from pipeline.workspace.lines import PageNumber, parse_line
from pipeline.workspace.prep_fields import prep_fields
from pipeline.workspace.source_names import decode_name, name_bytes, name_fields


@dataclass(frozen=True, slots=True)
class Part:
    """The text of one tile: one line of parts.jsonl.

    Attributes:
        id: Identity of the page's content.
        source: As in `Record`.
        page: 1-based.
        tile: Which part of the page.
        text: The recognised text.
        prep: The image as sent.
        reply: The origin of the text.
        attempt: The ledger's id of the call.
        elapsed_ms: From the start of the tile's preparation to its reply.
        added: RFC 3339 in UTC.
        note: A remark on the text; None for none.
        quality: How well the service says it has read the tile; None when it does not say.
        lines: Where its lines are, in px of the tile as sent; None when that was not asked for.
        operation: As in `Record`.
    """

    id: PageId
    source: str
    page: int
    tile: Tile
    text: str
    prep: Prep | None
    reply: Reply
    attempt: str
    elapsed_ms: int
    added: str
    note: str | None = None
    quality: Quality | None = None
    lines: tuple[TextLine, ...] | None = None
    operation: str | None = None


class _PartLine(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a line."""

    id: str
    source: str
    page: PageNumber
    tile: Tile
    text: str
    prep: Prep | None
    reply: Reply
    attempt: str
    elapsed_ms: int
    added: str
    source_b64: str | None = None
    quality: Quality | None = None
    note: str | None = None
    lines: tuple[TextLine, ...] | None = None
    operation: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when the name is not base64, or the tile is none of its page."""
        self.source_bytes()
        if not 1 <= self.tile.number <= self.tile.of:
            raise ValueError("its tile is none of its page")

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name."""
        return name_bytes(self.source, self.source_b64)


_PART = msgspec.json.Decoder(_PartLine)


def encode_part(part: Part) -> bytes:
    """Return the line of a tile for parts.jsonl, newline included."""
    fields: dict[str, Any] = {
        "id": part.id,
        **name_fields("source", part.source),
        "page": part.page,
        "tile": part.tile,
        "text": part.text,
        "prep": prep_fields(part.prep),
        "reply": part.reply,
        "quality": part.quality,
        "attempt": part.attempt,
        "elapsed_ms": part.elapsed_ms,
        "added": part.added,
    }
    more = {"note": part.note, "lines": line_fields(part.lines), "operation": part.operation}
    fields |= {name: value for name, value in more.items() if value is not None}
    return append_checksum(orjson.dumps(fields))


def parse_part(line: bytes) -> Part:
    """Return the tile of a line of parts.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    fields = parse_line(line, _PART)
    return Part(
        id=PageId(fields.id),
        source=decode_name(fields.source_bytes()),
        page=fields.page,
        tile=fields.tile,
        text=fields.text,
        prep=fields.prep,
        reply=fields.reply,
        attempt=fields.attempt,
        elapsed_ms=fields.elapsed_ms,
        added=fields.added,
        note=fields.note,
        quality=fields.quality,
        lines=fields.lines,
        operation=fields.operation,
    )

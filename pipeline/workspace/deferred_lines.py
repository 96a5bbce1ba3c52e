"""The lines of deferred.jsonl: pages that a shard has left to another one, which has claimed their content."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pipeline.records import Meta, PageId, Prep
from pipeline.workspace.lines import PageHead, encode_line, parse_line
from pipeline.workspace.prep_fields import prep_fields
from pipeline.workspace.source_names import decode_name, name_fields

_OPTIONAL: Final = frozenset({"meta", "pixels"})


@dataclass(frozen=True, slots=True)
class Deferred:
    """A page that another shard recognises, as a page of the same content: one line of deferred.jsonl.

    Attributes:
        id: Identity of the page's content.
        source: As in `Record`.
        page: 1-based.
        sha256: As in `Record`.
        prep: As in `Record`; the image was not sent.
        shard: The shard that has claimed the content, such as "3/7".
        elapsed_ms: Duration of the page's preparation.
        added: RFC 3339 in UTC.
        meta: Further fields of the manifest row.
        pixels: As in `Record`.
    """

    id: PageId
    source: str
    page: int
    sha256: str | None
    prep: Prep | None
    shard: str
    elapsed_ms: int
    added: str
    meta: Meta | None = None
    pixels: str | None = None


class _DeferredLine(PageHead, frozen=True, kw_only=True):
    """The fields of a line."""

    id: str
    sha256: str | None
    prep: Prep | None
    shard: str
    elapsed_ms: int
    meta: dict[str, Any] | None = None
    pixels: str | None = None


_LINE = msgspec.json.Decoder(_DeferredLine)


def encode_deferred(page: Deferred) -> bytes:
    """Return the line of a page for deferred.jsonl, newline included."""
    fields: dict[str, Any] = {
        "id": page.id,
        **name_fields("source", page.source),
        "page": page.page,
        "sha256": page.sha256,
        "prep": prep_fields(page.prep),
        "shard": page.shard,
        "elapsed_ms": page.elapsed_ms,
        "added": page.added,
        "meta": page.meta,
        "pixels": page.pixels,
    }
    return encode_line(fields, _OPTIONAL)


def parse_deferred(line: bytes) -> Deferred:
    """Return the page of a line of deferred.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    fields = parse_line(line, _LINE)
    return Deferred(
        id=PageId(fields.id),
        source=decode_name(fields.source_bytes()),
        page=fields.page,
        sha256=fields.sha256,
        prep=fields.prep,
        shard=fields.shard,
        elapsed_ms=fields.elapsed_ms,
        added=fields.added,
        meta=fields.meta,
        pixels=fields.pixels,
    )

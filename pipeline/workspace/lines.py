"""What the lines of results.jsonl, failures.jsonl and parts.jsonl have in common: encoding, parsing, checksum.

A line is one JSON object in UTF-8 that ends with `,"crc32":<CRC-32 of the bytes before this comma>}` and a newline.
A line that another program has encoded anew is read as well (`reencoding`).
"""

from collections.abc import Collection
from typing import Annotated, Any, TypeVar

import msgspec
import orjson

from pipeline.workspace.checksums import DamagedLineError, append_checksum, check_checksum
from pipeline.workspace.reencoding import restore_line, strip_framing
from pipeline.workspace.source_names import name_bytes

PageNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Line = TypeVar("_Line")


class PageHead(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that say which page a line of results.jsonl or failures.jsonl is about, and when it was added.

    `source_b64` holds the exact bytes of a name that is not UTF-8.
    """

    source: str
    page: PageNumber
    added: str
    source_b64: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when the name is not base64."""
        self.source_bytes()

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name."""
        return name_bytes(self.source, self.source_b64)


class EditedLineError(DamagedLineError):
    """A line's fields are right and its checksum is not: its values were changed, perhaps by hand.

    Attributes:
        fields: The fields that the parser needs.
    """

    def __init__(self, problem: str, fields: PageHead) -> None:
        super().__init__(problem)
        self.fields = fields


def encode_line(fields: dict[str, Any], optional: Collection[str]) -> bytes:
    """Return an object as a line, newline included, without the optional fields that have no value."""
    return append_checksum(orjson.dumps({k: v for k, v in fields.items() if v is not None or k not in optional}))


def parse_line(line: bytes, decoder: msgspec.json.Decoder[_Line]) -> _Line:
    """Return the fields of a line.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    try:
        check_checksum(line)
    except DamagedLineError as exc:
        restored = restore_line(line)
        if restored is None:
            raise _describe_change(line, decoder, exc) from exc
        line = restored
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError) as exc:  # msgspec's errors, and UnicodeDecodeError, are ValueErrors
        raise DamagedLineError(str(exc)) from exc


def _describe_change(line: bytes, decoder: msgspec.json.Decoder[_Line], problem: DamagedLineError) -> DamagedLineError:
    """Return the error for a line whose checksum is wrong."""
    try:
        fields = decoder.decode(strip_framing(line))
    except (ValueError, RecursionError):
        return problem
    return EditedLineError(str(problem), fields) if isinstance(fields, PageHead) else problem

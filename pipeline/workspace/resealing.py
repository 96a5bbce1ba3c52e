"""Accepts lines that were edited by hand: their checksums are made right again.

The file is replaced as a whole. The former bytes of the lines are kept in `<name>.edited-<time>`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import orjson

from pipeline.errors import StorageError
from pipeline.storage.filesystems import sync_directory
from pipeline.workspace.checksums import DamagedLineError, append_checksum
from pipeline.workspace.failure_lines import parse_failure
from pipeline.workspace.lines import EditedLineError
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.reencoding import split_joined, strip_framing
from pipeline.workspace.result_lines import parse_record


@dataclass(slots=True)
class Resealed:
    """The lines of one file after `reseal_file`.

    Attributes:
        number: Lines whose checksums were made right.
        evidence: The file with their former bytes; None when there are none.
        damaged: Numbers, from 1, and problems of the lines that are no records; they stay as they are.
    """

    number: int = 0
    evidence: Path | None = None
    damaged: list[tuple[int, str]] = field(default_factory=list)


def reseal_file(path: Path) -> Resealed:
    """Give every edited line of results.jsonl or failures.jsonl a right checksum; a run must not hold the workspace.

    Raises:
        StorageError: the file cannot be read or written; it is as it was.
    """
    resealed = Resealed()
    temporary, evidence = path.with_name(f".{path.name}.new"), path.with_name(f"{path.name}.edited-{_now()}")
    try:
        with path.open("rb") as file, temporary.open("wb") as new, evidence.open("xb") as former:
            os.fchmod(new.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
            for old, line in _reseal_lines(file, _PARSERS[path.name], resealed):
                new.write(line)
                if old != line:
                    former.write(old)
            for written in (new, former):
                written.flush()
                os.fsync(written.fileno())
        sync_directory(path.parent)
        if resealed.number:
            resealed.evidence = evidence
            temporary.replace(path)
            sync_directory(path.parent)
    except FileNotFoundError:
        return resealed
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
            if resealed.evidence is None:
                evidence.unlink(missing_ok=True)
    return resealed


def _reseal_lines(
    file: Iterator[bytes], parse: Callable[[bytes], object], resealed: Resealed
) -> Iterator[tuple[bytes, bytes]]:
    """Yield each line as it was and as it will be."""
    for number, line in enumerate(file, 1):
        pieces = [line] if _is_readable(line, parse) else split_joined(line)
        for piece, following in pairwise([*pieces, None]):
            assert piece is not None
            old = piece if following is None else piece + b"\n"
            try:
                parse(piece.removesuffix(b"\n"))
            except EditedLineError:
                resealed.number += 1
                yield old, _reseal(piece)
                continue
            except DamagedLineError as exc:
                resealed.damaged.append((number, str(exc)))
            yield old, old


def _is_readable(line: bytes, parse: Callable[[bytes], object]) -> bool:
    try:
        parse(line.removesuffix(b"\n"))
    except DamagedLineError:
        return False
    return True


def _reseal(line: bytes) -> bytes:
    fields = orjson.loads(strip_framing(line))
    fields.pop("crc32", None)
    return append_checksum(orjson.dumps(fields))


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


_PARSERS: dict[str, Callable[[bytes], object]] = {RESULTS: parse_record, FAILURES: parse_failure}

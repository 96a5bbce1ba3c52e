"""Accepts lines that were edited by hand: their checksums are made right again.

The file is replaced as a whole. The former bytes of the lines are kept in `<name>.edited-<time>`.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import orjson

from pipeline.errors import StorageError
from pipeline.storage.filesystems import sync_directory
from pipeline.storage.zstd_frames import FRAME_BYTES, FrameWriter, require_zstd
from pipeline.workspace.checksums import DamagedLineError, append_checksum, is_lost
from pipeline.workspace.failure_lines import parse_failure
from pipeline.workspace.lines import EditedLineError
from pipeline.workspace.paths import FAILURES
from pipeline.workspace.reencoding import split_joined, strip_framing
from pipeline.workspace.result_lines import parse_record
from pipeline.workspace.segment_reader import decompress_all


@dataclass(slots=True)
class Resealed:
    """The lines of one file after `reseal_file`.

    Attributes:
        number: Lines whose checksums were made right.
        evidence: The file with their former bytes; None when there are none.
        damaged: Numbers, from 1, and problems of the lines that are no records; they stay as they are.
        is_cut: A compressed file is damaged, so that none of its lines was changed.
    """

    number: int = 0
    evidence: Path | None = None
    damaged: list[tuple[int, str]] = field(default_factory=list)
    is_cut: bool = False


def reseal_file(path: Path) -> Resealed:
    """Give every edited line of a file a right checksum; a run must not hold the workspace.

    Args:
        path: results.jsonl, a segment or failures.jsonl. A compressed segment that is damaged stays as it is.

    Raises:
        StorageError: the file cannot be read or written; it is as it was.
    """
    resealed = Resealed()
    temporary, evidence = path.with_name(f".{path.name}.new"), path.with_name(f"{path.name}.edited-{_now()}")
    try:
        with _open_lines(path) as file, temporary.open("wb") as new, evidence.open("xb") as former:
            os.fchmod(new.fileno(), path.stat().st_mode & 0o777)
            parse = parse_failure if path.name == FAILURES else parse_record
            pairs = _note(_reseal_lines(file, parse, resealed), former)
            if path.suffix == ".zst":
                _compress(pairs, FrameWriter(new))
            else:
                new.writelines(pairs)
            for written in (new, former):
                written.flush()
                os.fsync(written.fileno())
        sync_directory(path.parent)
        if resealed.number and not resealed.is_cut:
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
                resealed.is_cut = resealed.is_cut or is_lost(piece)
            yield old, old


@contextmanager
def _open_lines(path: Path) -> Generator[IO[bytes]]:
    """Open the lines of a file, of a compressed one those that can be read."""
    with path.open("rb") as file:
        if path.suffix != ".zst":
            yield file
            return
        require_zstd(str(path))
        with TemporaryFile() as lines:
            decompress_all(file, lines)
            lines.seek(0)
            yield lines


def _note(pairs: Iterable[tuple[bytes, bytes]], former: BinaryIO) -> Iterator[bytes]:
    """Yield each line as it will be; write what it was to another file if that differs."""
    for old, line in pairs:
        if old != line:
            former.write(old)
        yield line


def _compress(lines: Iterable[bytes], writer: FrameWriter) -> None:
    block: list[bytes] = []
    size_bytes = 0
    for line in lines:
        block.append(line)
        size_bytes += len(line)
        if size_bytes >= FRAME_BYTES:
            writer.write(b"".join(block))
            block, size_bytes = [], 0
    if block:
        writer.write(b"".join(block))
    writer.finish()


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

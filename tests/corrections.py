"""Corrections files for tests."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline.correct.folding import Folded, Refusal, fold


def write_corrections(path: Path, *corrections: Mapping[str, Any]) -> Path:
    """Write a corrections file, and return it."""
    path.write_bytes(b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in corrections))
    return path


def correct(
    workspace: Path, *corrections: Mapping[str, Any] | bytes, force: bool = False
) -> tuple[Folded, list[Refusal]]:
    """Fold corrections, or the bytes of a file, into a workspace; return what they did, and the refused lines."""
    path = workspace.parent / "corrections.jsonl"
    lines = [each if isinstance(each, bytes) else orjson.dumps(each) + b"\n" for each in corrections]
    path.write_bytes(b"".join(lines))
    refusals: list[Refusal] = []
    folded = fold(workspace, [path], io.BytesIO(), refusals.append, force=force)
    return folded, refusals


def counts(folded: Folded) -> dict[str, int]:
    """Return what corrections did, by name, without zeros."""
    found = {effect.value: number for effect, number in folded.effects.items() if number}
    return found | {name: number for name, number in (("copies", folded.copies), ("refused", folded.refused)) if number}

"""Looks into ledgers in tests."""

from pathlib import Path

from pipeline.ledger.schema import read_attempts
from pipeline.records import AttemptState


def read_attempt_states(path: Path, workspace: str) -> dict[str, AttemptState]:
    """Return the state of each call of a workspace that has a row."""
    return {call.id: call.state for call in read_attempts(path, workspace)}

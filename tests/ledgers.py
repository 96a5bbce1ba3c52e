"""Looks into ledgers in tests."""

from pathlib import Path

from pipeline.records import AttemptState
from pipeline.storage.ledger_database import read_calls


def read_attempt_states(path: Path, workspace: str) -> dict[str, AttemptState]:
    """Return the state of each call of a workspace that has a row."""
    return {call.id: call.state for call in read_calls(path, workspace)}

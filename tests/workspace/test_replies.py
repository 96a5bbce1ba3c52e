"""Paid replies that could not be understood: kept durably, named by attempt, and not without bound."""

import logging
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.workspace import replies
from pipeline.workspace.replies import keep_reply
from pipeline.workspace.sink import open_sink


def test_a_reply_is_kept_byte_by_byte_under_its_attempt(tmp_path: Path) -> None:
    path = keep_reply(tmp_path, "owner-000007", b"\xff\0half a text")
    assert path == tmp_path / "replies" / "owner-000007.bin"
    assert path.read_bytes() == b"\xff\0half a text"
    assert [entry.name for entry in path.parent.iterdir()] == ["owner-000007.bin"]


def test_a_service_whose_every_reply_is_broken_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replies, "MAX_FILES", 2)
    with caplog.at_level(logging.WARNING):
        kept = [keep_reply(tmp_path, f"a-{number}", b"x") for number in range(3)]
    assert [path is not None for path in kept] == [True, True, False]
    assert "the reply of attempt a-2 is not kept" in caplog.text


@pytest.mark.parametrize("place", ["replies", "replies/a-1.bin"])
def test_a_reply_that_cannot_be_written_is_a_storage_error(tmp_path: Path, place: str) -> None:
    """It was paid for: the run ends instead of losing more of them."""
    blocker = tmp_path / place
    blocker.parent.mkdir(exist_ok=True)
    if place == "replies":
        blocker.write_bytes(b"")
    else:
        blocker.mkdir()
    with pytest.raises(StorageError):
        keep_reply(tmp_path, "a-1", b"x")


async def test_the_sink_returns_the_name_within_the_workspace(tmp_path: Path) -> None:
    async with open_sink(tmp_path) as sink:
        assert await sink.keep_reply("a-1", b"x") == "replies/a-1.bin"

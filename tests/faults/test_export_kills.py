"""A killed export leaves each file as it was or as it should be, and the next one completes the folder."""

import subprocess
from pathlib import Path

import pytest

from pipeline.export.base import ExportJob
from tests.export.workspaces import put_records, run_export
from tests.factories import make_record
from tests.faults.tracing import trace
from tests.runs import COMMAND

DOCUMENTS = 5


def put_texts(workspace: Path, version: str, added: int) -> Path:
    """Append a record of each document."""
    records = [
        make_record(f"{number}.png", number, text=f"{version} {number} " + "text " * 4000, added=added + number)
        for number in range(DOCUMENTS)
    ]
    return put_records(workspace, records)


def contents(destination: Path) -> dict[str, bytes]:
    """Return the files of an export, without its notes."""
    if destination.is_file():
        return {destination.name: destination.read_bytes()}
    found = (path for path in destination.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("form", "call", "nth"),
    [
        pytest.param("txt", "rename", 1, id="txt-before-the-first"),
        pytest.param("txt", "rename", 3, id="txt-between-two"),
        pytest.param("txt", "write", 4, id="txt-while-writing"),
        pytest.param("csv", "write", 2, id="csv-while-writing"),
        pytest.param("csv", "rename", 1, id="csv-before-the-last-step"),
        pytest.param("sqlite", "pwrite64", 3, id="sqlite-while-writing"),
        pytest.param("dolma", "write", 1, id="dolma-while-writing"),
        pytest.param("webdataset", "write", 2, id="webdataset-while-writing"),
    ],
)
def test_a_killed_export_leaves_whole_files(tmp_path: Path, form: str, call: str, nth: int) -> None:
    workspace = put_texts(tmp_path / "out", "old", 0)
    destination, temporary = tmp_path / f"to.{form}", tmp_path / f".to.{form}.new"
    run_export(form, ExportJob(workspace, destination))
    old = contents(destination)
    put_texts(workspace, "new", 100)
    run_export(form, ExportJob(workspace, tmp_path / f"expected.{form}"))
    expected = contents(tmp_path / f"expected.{form}")
    if destination.is_file():
        expected = {destination.name: expected[f"expected.{form}"]}
    written = [temporary] if destination.is_file() else [destination / ".pagemill-export.new"]
    prefix = trace(tmp_path / "log", [call], kill_at=(call, nth), files=written)
    command = [*prefix, *COMMAND, "export", str(workspace), "--to", form, str(destination), "--no-progress"]
    assert subprocess.run(command, check=False).returncode in {-9, 137}
    left = contents(destination)
    assert left.keys() == old.keys()
    for name, content in left.items():
        assert content in {old[name], expected[name]}, name
    run_export(form, ExportJob(workspace, destination))
    assert contents(destination) == expected
    assert not written[0].exists()

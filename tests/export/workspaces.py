"""Workspaces with records that tests export."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.export.base import Exported, ExportJob
from pipeline.export.formats import export
from pipeline.records import Record
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import RunFile, read_run_file, write_run_file


def put_records(workspace: Path, records: Sequence[Record], root: Path = Path("/scans")) -> Path:
    """Append records to a workspace, which is made when it is missing, and return it."""
    workspace.mkdir(exist_ok=True)
    if read_run_file(workspace) is None:
        run_file = RunFile(workspace_id="0123456789abcdef", version="0", service="vendor", root=str(root))
        write_run_file(workspace, run_file)
    with (workspace / "results.jsonl").open("ab") as file:
        file.writelines(encode_record(record) for record in records)
    return workspace


def run_export(form: str, job: ExportJob) -> Exported:
    """Export without a progress bar."""
    return export(job, form, lambda _: None)


def tree(root: Path) -> dict[str, str]:
    """Return the texts of all files below a folder by relative path, without the notes."""
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".pagemill-export")
    }

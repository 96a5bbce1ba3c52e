"""The commands of the README and of the documentation, run as they are printed, in the order of each document."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio.to_thread
import pytest

from tests.fakes import FakeOcr, serve_fake
from tests.generated import DOCS, ROOT, generated_files
from tests.runs import KEY, environment

DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install -q '.[local]'": "tests/check.py has installed the project",
    ". .venv/bin/activate": "its commands are on the PATH",
    "pip install '.[local]'": "tests/check.py has installed the project",
    "python3 tests/check.py": "it runs this test",
}
"""Commands of the documents that this test leaves out, and why."""

WITHOUT_SERVICE = ("README.md", "exports.md", "review.md", "server.md", "workspace.md")
"""Documents whose first commands use the embedded engine; those of the others call the service from the start."""

START_SERVER = """\
coproc SERVER { exec pagemill serve --port PORT; }
trap 'kill "$SERVER_PID"' EXIT
read -r base_url <&"${SERVER[0]}"
"""


def test_every_command_that_is_left_out_is_in_a_document() -> None:
    text = "\n".join(document.read_text("utf-8") for document in DOCUMENTS)
    assert [command for command in NOT_RUN if command not in text] == []


def test_generated_files_are_up_to_date() -> None:
    stale = [path.name for path, text in generated_files().items() if path.read_text("utf-8") != text]
    assert stale == [], "run: python -m tests.generated"


def test_links_between_documents_lead_somewhere() -> None:
    others = [
        ROOT / ".github" / "CONTRIBUTING.md",
        *ROOT.glob("tests/**/README.md"),
        ROOT / "sample_data" / "README.md",
    ]
    links = [
        (document, target)
        for document in (*DOCUMENTS, *others)
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text("utf-8"))
    ]
    assert links
    assert [(document.name, target) for document, target in links if not (document.parent / target).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def script_of(document: Path, url: str, port: int) -> str:
    """Return one bash script with the document's commands; the service is the fake one at `url`."""
    parts = ["set -euo pipefail"]
    for language, block in re.findall(r"(?ms)^```(bash|python)\n(.*?)^```$", document.read_text("utf-8")):
        parts.append(f"python - <<'PYTHON'\n{block}PYTHON" if language == "python" else block)
    script = "\n".join(parts)
    for command in NOT_RUN:
        script = re.sub(rf"(?m)^{re.escape(command)}$", "", script)
    script = re.sub(
        r"(?m)^export PAGEMILL_API_KEY=….*$", f"export PAGEMILL_API_KEY={KEY} PAGEMILL_API_URL={url}", script
    )
    return script.replace("pagemill serve --port 8080\n", START_SERVER.replace("PORT", "8080")).replace(
        "8080", str(port)
    )


@pytest.fixture
async def fake() -> AsyncGenerator[FakeOcr]:
    async with serve_fake() as server:
        yield server


@pytest.mark.engine
@pytest.mark.parametrize("document", [pytest.param(document, id=document.name) for document in DOCUMENTS])
async def test_the_commands_of_a_document_work_when_copied(document: Path, tmp_path: Path, fake: FakeOcr) -> None:
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = script_of(document, fake.url, port)
    (tmp_path / "home").mkdir()
    environ = environment(None) | {
        "HOME": str(tmp_path / "home"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PAGEMILL_STATE_DIR": str(tmp_path / "state"),
    }
    if document.name not in WITHOUT_SERVICE:
        environ |= {"PAGEMILL_API_KEY": KEY, "PAGEMILL_API_URL": fake.url}
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=300
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr

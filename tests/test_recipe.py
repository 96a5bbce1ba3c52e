"""The recipe for a container image in the documentation: rootless by its text, and its steps work in a fresh folder."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.generated import DOCS, ROOT

HOME = "/app"
"""The directory that the image's user owns; the test has another one in its place."""
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of the recipe: "RUN" and its text."""

    instruction: str
    text: str


def read_recipe() -> list[Step]:
    """Return the steps of the recipe in operations.md."""
    (block,) = re.findall(r"(?ms)^```dockerfile\n(.*?)^```$", (DOCS / "operations.md").read_text("utf-8"))
    return [Step(*line.split(" ", 1)) for line in block.replace("\\\n", " ").splitlines()]


def test_nothing_of_pagemill_runs_as_root() -> None:
    steps = read_recipe()
    names = [step.instruction for step in steps]
    user = names.index("USER")
    assert names.count("USER") == 1
    uid = steps[user].text
    assert int(uid) > 0, "a number, so that Kubernetes can tell that it is not root"
    assert [step.text.split()[0] for step in steps[:user] if step.instruction == "RUN"] == ["useradd"]
    assert f"--uid {uid} " in steps[user - 1].text
    assert all(f"--chown={uid} " in step.text for step in steps if step.instruction == "COPY")


def test_signals_reach_pagemill_itself() -> None:
    """A shell as PID 1 would not pass SIGTERM on."""
    steps = {step.instruction: step.text for step in read_recipe()}
    assert json.loads(steps["ENTRYPOINT"]) == ["pagemill"]
    assert json.loads(steps["CMD"]) == ["--help"]
    assert steps["STOPSIGNAL"] == "SIGTERM"


def test_the_image_holds_no_secret_and_the_ledger_has_a_place_of_its_own() -> None:
    steps = read_recipe()
    environ = " ".join(step.text for step in steps if step.instruction == "ENV")
    assert f"PAGEMILL_STATE_DIR={HOME}/state" in environ
    assert "KEY" not in " ".join(step.text for step in steps)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that an ordinary user owns, in place of the image's."""
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def run_as_nobody(command: str, home: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell command as the image's user would: no root, no inherited environment."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    prefix = user if os.geteuid() == 0 else []
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(
        [*prefix, "/bin/sh", "-ec", command], cwd=home, env=path | environ, capture_output=True, text=True, check=False
    )


@pytest.mark.deep
def test_the_steps_work_in_a_fresh_folder(home: Path) -> None:
    """Installs pagemill from this checkout, with the packages of the index."""
    environ = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    environ["HOME"] = str(home)
    for step in read_recipe():
        text = step.text.replace(HOME, str(home))
        match step.instruction:
            case "RUN" if not text.startswith("useradd"):
                done = run_as_nobody(text, home, environ)
                assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            case "COPY":
                copy_tracked(Path(shlex.split(text)[-1]))
            case "ENV":
                for part in shlex.split(text):
                    name, _, value = part.partition("=")
                    environ[name] = value.replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
            case _:  # said by the tests above, or the base image's
                pass
    assert not (home / "src").exists()
    for command in ("pagemill --version", "pagemill --help", "pagemill plan scans || test $? = 9"):
        done = run_as_nobody(command, home, environ)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def copy_tracked(target: Path) -> None:
    """Copy this checkout without what it ignores, owned by the image's user."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if name.startswith(("pipeline/", "README", "LICENSE", "pyproject", "CHANGELOG")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    if os.geteuid() == 0:
        for path in (target, *target.rglob("*")):
            os.chown(path, NOBODY, NOBODY)

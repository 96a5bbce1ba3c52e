"""The one test command: sets up what the tests need, then runs linters, type checker, layers and tests.

    python3 tests/check.py [PYTEST ARGUMENTS]

Needs only Python >= 3.11 with venv and pip. As root on Debian it installs missing system packages.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"

FILES_OF_PACKAGES = {
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc": "fonts-noto-cjk",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf": "fonts-liberation",
}
COMMANDS_OF_PACKAGES = {
    "strace": "strace",
    "curl": "curl",
    "node": "nodejs",
    "jq": "jq",
    "openssl": "openssl",
    "chromium": "chromium",
}

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def main() -> int:
    """Set up, check, and return the exit status of the first check that fails."""
    install_system_packages()
    install_python_packages()
    for command in CHECKS:
        if status := run(str(BIN / command[0]), *command[1:]):
            return status
    # a file's tests share servers, so they stay together
    return run(str(BIN / "python"), "-m", "pytest", "-n", str(os.cpu_count() or 1), "--dist", "loadfile", *sys.argv[1:])


def install_system_packages() -> None:
    """Install the fonts and programs that tests use; without root, name what is missing and stop."""
    missing = [package for file, package in FILES_OF_PACKAGES.items() if not Path(file).exists()]
    missing += [package for command, package in COMMANDS_OF_PACKAGES.items() if shutil.which(command) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"the tests need these packages: apt-get install {' '.join(missing)}")
    run("apt-get", "update", "-q", required=True)
    run("apt-get", "install", "-qy", "--no-install-recommends", *missing, required=True)


def install_python_packages() -> None:
    """Make the virtual environment and install the project with all that its tests need."""
    if not (BIN / "python").exists():
        run(sys.executable, "-m", "venv", str(VENV), required=True)
    run(str(BIN / "python"), "-m", "pip", "install", "-q", "-e", f"{ROOT}[dev,local]", required=True)


def run(*command: str, required: bool = False) -> int:
    """Run a command in the project's directory and return its exit status; stop when a required one fails."""
    print("$", *(Path(part).name if part.startswith(str(BIN)) else part for part in command), flush=True)
    status = subprocess.run(command, cwd=ROOT, check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    if required and status.returncode:
        sys.exit(status.returncode)
    return status.returncode


if __name__ == "__main__":
    sys.exit(main())

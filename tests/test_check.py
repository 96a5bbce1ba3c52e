"""`tests/check.py`: which tests a change selects with --fast, and how and when packages are installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import check
from tests.check import Selection, digest_of_settings, imported_names, install_python_packages, select_tests

IMPORTS = {
    "tests/test_wire.py": {"pipeline.wire"},
    "tests/remote/test_gate.py": {"tests.virtual_time", "tests.virtual_time.run_virtual"},
    "tests/remote/test_client.py": {"tests.fakes", "tests.faults.raw_server"},
    "tests/server/api/test_handlers.py": {"tests.server", "tests.server.keyed"},
    "tests/faults/test_network.py": {"tests.fakes", "tests.faults.raw_server"},
    "tests/faults/test_disk.py": {"tests.faults.scene"},
}


@pytest.mark.parametrize(
    ("changed", "selected"),
    [
        pytest.param(["pipeline/wire.py"], ["tests/test_wire.py"], id="top-level-module"),
        pytest.param(["pipeline/remote/gate.py"], ["tests/remote/test_gate.py"], id="module-of-a-package"),
        pytest.param(["pipeline/server/api/handlers.py"], ["tests/server/api/test_handlers.py"], id="nested-package"),
        pytest.param(["tests/remote/test_gate.py"], ["tests/remote/test_gate.py"], id="test-module"),
        pytest.param(["tests/virtual_time.py"], ["tests/remote/test_gate.py"], id="helper"),
        pytest.param(["tests/server/keyed.py"], ["tests/server/api/test_handlers.py"], id="helper-imported-by-name"),
        pytest.param(["tests/server/__init__.py"], ["tests/server/api/test_handlers.py"], id="package"),
        pytest.param(["tests/conftest.py"], ["tests/test_wire.py"], id="conftest"),
        pytest.param(["tests/faults/test_disk.py"], ["tests/faults/test_disk.py"], id="slow-test-module-itself"),
        pytest.param(["pipeline/remote/pace.py"], [], id="module-without-tests"),
        pytest.param(["tests/remote/test_gone.py"], [], id="deleted-test-module"),
        pytest.param(["README.md", "pipeline/py.typed", "sample_data/make.py"], [], id="other-files"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_a_change_selects_the_tests_that_mirror_or_import_it(changed: list[str], selected: list[str]) -> None:
    assert select_tests(changed, IMPORTS) == Selection(selected, [])


def test_slow_tests_that_import_a_changed_helper_are_left_out_by_name() -> None:
    selection = select_tests(["tests/faults/raw_server.py"], IMPORTS)
    assert selection == Selection(["tests/remote/test_client.py"], ["tests/faults/test_network.py"])


def test_a_slow_test_module_that_changed_together_with_its_helper_is_run() -> None:
    selection = select_tests(["tests/faults/scene.py", "tests/faults/test_disk.py"], IMPORTS)
    assert selection == Selection(["tests/faults/test_disk.py"], [])


def test_a_module_is_selected_once_for_two_changes() -> None:
    changed = ["pipeline/remote/gate.py", "tests/virtual_time.py", "tests/remote/test_gate.py"]
    assert select_tests(changed, IMPORTS).run == ["tests/remote/test_gate.py"]


def test_of_from_a_import_b_both_names_count() -> None:
    source = "import os\nfrom tests import fakes\nfrom tests.pages import write_page as write\n"
    assert imported_names(source) == {"os", "tests", "tests.fakes", "tests.pages", "tests.pages.write_page"}


def test_every_test_module_of_this_checkout_is_known() -> None:
    assert "tests/test_check.py" in check.imports_by_test_module()
    assert "tests.check" in check.imports_by_test_module()["tests/test_check.py"]


class TestSystemPackages:
    @pytest.fixture
    def policy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file that forbids services to start; it does not exist."""
        monkeypatch.setattr(check, "SERVICE_POLICY", tmp_path / "policy-rc.d")
        return tmp_path / "policy-rc.d"

    def test_a_server_outside_a_user_s_path_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "nginx").touch(mode=0o755)
        monkeypatch.setattr(check, "SEARCH_PATH", f"/nowhere:{tmp_path}")
        assert check.find_command("nginx") == str(tmp_path / "nginx")
        assert check.find_command("haproxy") is None

    def test_the_directory_of_servers_is_searched(self) -> None:
        assert "/usr/sbin" in check.SEARCH_PATH.split(os.pathsep)

    def test_no_service_is_started_by_its_installation(self, policy: Path) -> None:
        with check.services_left_stopped():
            assert subprocess.run([policy], check=False).returncode == 101
        assert not policy.exists()

    def test_services_may_start_again_after_a_failed_installation(self, policy: Path) -> None:
        with pytest.raises(SystemExit), check.services_left_stopped():
            sys.exit(100)
        assert not policy.exists()

    def test_a_policy_of_the_machine_stays_in_force(self, policy: Path) -> None:
        policy.write_text("of the machine")
        with check.services_left_stopped():
            assert policy.read_text() == "of the machine"
        assert policy.read_text() == "of the machine"


class TestInstallation:
    @pytest.fixture
    def commands(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
        """The commands that an installation into an empty directory runs."""
        commands: list[tuple[str, ...]] = []

        def run(*command: str, required: bool = False) -> int:
            assert required
            commands.append(command)
            return 0

        monkeypatch.setattr(check, "run", run)
        monkeypatch.setattr(check, "STAMP", tmp_path / "stamp")
        monkeypatch.setattr(check, "BIN", tmp_path / "bin")
        monkeypatch.setattr(check, "CONSTRAINTS", tmp_path / "constraints.txt")
        return commands

    def test_a_missing_environment_is_made(self, commands: list[tuple[str, ...]]) -> None:
        install_python_packages("digest", skip_if_unchanged=True)
        assert [command[2] for command in commands] == ["venv", "pip", "pip"]

    def test_unchanged_settings_install_nothing_with_fast(self, commands: list[tuple[str, ...]]) -> None:
        install_python_packages("digest")
        commands.clear()
        install_python_packages("digest", skip_if_unchanged=True)
        assert commands == []

    def test_unchanged_settings_install_again_without_fast(self, commands: list[tuple[str, ...]]) -> None:
        install_python_packages("digest")
        commands.clear()
        install_python_packages("digest")
        assert commands[-1][2:4] == ("pip", "install")

    def test_changed_settings_install_again(self, commands: list[tuple[str, ...]]) -> None:
        install_python_packages("digest")
        commands.clear()
        install_python_packages("another", skip_if_unchanged=True)
        assert commands[-1][2:4] == ("pip", "install")

    def test_constraints_are_used_if_there_are_any(self, commands: list[tuple[str, ...]], tmp_path: Path) -> None:
        install_python_packages("digest")
        assert "-c" not in commands[-1]
        (tmp_path / "constraints.txt").touch()
        install_python_packages("digest")
        assert ("-c", str(tmp_path / "constraints.txt")) == commands[-1][5:7]

    def test_the_digest_depends_on_both_files_and_on_their_presence(self, tmp_path: Path) -> None:
        settings, constraints = tmp_path / "pyproject.toml", tmp_path / "constraints.txt"
        digests = []
        for change in (lambda: None, settings.touch, constraints.touch, lambda: settings.write_text("x")):
            change()
            digests.append(digest_of_settings([settings, constraints]))
        assert len(set(digests)) == 4

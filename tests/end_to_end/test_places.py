"""Commands started without a home directory, in a directory that may not be entered, in one that was deleted."""

import os
import re
from pathlib import Path

import anyio
import platformdirs
import pytest

from pipeline.config import Config, default_state_dir, expand_home, load_config, user_config_dir
from pipeline.config.settings import BudgetConfig
from pipeline.errors import UsageError
from pipeline.ledger.places import ledger_directory
from pipeline.workspace.run_file import require_workspace
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, environment, results


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine does not know, as a container's: HOME is not set, and there is no entry to look up."""

    def no_home(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    for name in ("user_config_path", "user_state_dir"):
        monkeypatch.setattr(platformdirs, name, no_home)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


@pytest.mark.usefixtures("homeless")
class TestWithoutHome:
    def test_there_is_no_user_configuration(self) -> None:
        assert user_config_dir() is None
        assert load_config(user_dir=user_config_dir()) == Config()

    def test_the_place_of_the_ledgers_must_be_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UsageError, match=r"no home directory .*; set PAGEMILL_STATE_DIR"):
            default_state_dir()
        assert ledger_directory(Config(budget=BudgetConfig(ledger=str(tmp_path)))) == tmp_path
        monkeypatch.setenv("PAGEMILL_STATE_DIR", str(tmp_path))
        assert ledger_directory(Config()) == tmp_path / "ledger"

    def test_a_tilde_is_an_error_that_names_the_path(self) -> None:
        with pytest.raises(UsageError, match="~/ledger: no such home directory"):
            expand_home("~/ledger")


def test_the_home_of_an_unknown_user_is_an_error() -> None:
    with pytest.raises(UsageError, match="~nobody-has-this-name/x: no such home directory"):
        expand_home("~nobody-has-this-name/x")


class TestWithoutPermission:
    """As after `sudo -u`, which keeps the directory and may keep HOME."""

    def test_a_current_directory_that_may_not_be_entered_is_named(self, as_nobody: Path) -> None:
        """A limit in its pagemill.toml would otherwise be missed; a named configuration is enough."""
        (as_nobody / "closed").mkdir()
        (as_nobody / "named.toml").write_text("[run]\njobs = 3\n")
        os.chdir(as_nobody / "closed")
        (as_nobody / "closed").chmod(0)
        with pytest.raises(UsageError, match=r"pagemill\.toml: Permission denied: the current directory .* --config"):
            load_config()
        assert load_config(as_nobody / "named.toml").run.jobs == 3
        (as_nobody / "closed").chmod(0o700)

    def test_a_home_that_may_not_be_entered_is_named(self, as_nobody: Path) -> None:
        (as_nobody / "home").mkdir(0o000)
        path = re.escape(f"{as_nobody}/home/.config/config.toml")
        with pytest.raises(UsageError, match=f"{path}: Permission denied: the home directory"):
            load_config(user_dir=as_nobody / "home" / ".config")

    def test_a_ledger_and_a_workspace_that_may_not_be_entered_are_named(self, as_nobody: Path) -> None:
        (as_nobody / "closed").mkdir(0o000)
        with pytest.raises(UsageError, match=r"ledger .*/closed/ledger: Permission denied"):
            ledger_directory(Config(budget=BudgetConfig(ledger=str(as_nobody / "closed" / "ledger"))))
        with pytest.raises(UsageError, match="closed/out: Permission denied"):
            require_workspace(as_nobody / "closed" / "out")


class TestDeletedDirectory:
    """The shell still stands in it."""

    async def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Return exit code and stderr of a command in a directory that no longer exists."""
        Path("gone").mkdir()
        script = 'cd gone && rmdir ../gone && exec "$@"'
        command = ["bash", "-c", script, "bash", *COMMAND, *map(str, arguments)]
        done = await anyio.run_process(command, check=False, env=environment(KEY, PYTHONSAFEPATH="1"))
        return done.returncode, done.stderr.decode()

    async def test_absolute_inputs_are_recognised(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 2)
        async with serve_fake() as fake:
            code, stderr = await self.run("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
        assert (code, len(results(tmp_path / "out"))) == (0, 2), stderr

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            pytest.param(["run", "scans", "-o", "/tmp/x"], "scans: the current directory no longer exists", id="input"),
            pytest.param(["run", "-", "-o", "/tmp/x"], "-: the current directory no longer exists", id="stdin"),
            pytest.param(["status", "out"], "out: not a workspace", id="workspace"),
        ],
    )
    async def test_relative_names_are_an_error_in_one_line(self, arguments: list[str], named: str) -> None:
        code, stderr = await self.run(*arguments)
        assert (code, stderr.count("\n"), named in stderr) == (2, 1, True), stderr

    async def test_commands_that_need_no_directory_work(self) -> None:
        for arguments in (["--help"], ["config", "show"], ["config", "check"], ["completion", "bash"]):
            code, stderr = await self.run(*arguments)
            assert (code, "Traceback" in stderr) == (0, False), stderr


async def test_an_empty_home_is_none(scans: Path, tmp_path: Path) -> None:
    """It would mean the root directory of the machine."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        flags = ("-o", str(tmp_path / "out"), "--api-url", fake.url, "--ledger", str(tmp_path / "ledger"))
        environ = environment(KEY, HOME="")
        done = await anyio.run_process([*COMMAND, "run", str(scans), *flags], check=False, env=environ)
    assert done.returncode == 0, done.stderr

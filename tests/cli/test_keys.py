"""`pagemill serve keys`, by the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline.cli.serve
from pipeline.cli.serve import run_server
from pipeline.config import Config, ServeConfig
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import is_well_formed_key


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the user's state directory."""
    return tmp_path / "state"


def keys(state: Path, *arguments: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run `pagemill serve keys ...`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PAGEMILL_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "serve", *before, "keys", *arguments],
        env=environ | {"PAGEMILL_STATE_DIR": str(state)},
        cwd=state.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listed(state: Path, *, before: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """Return the keys as `list --json` tells them."""
    found = json.loads(keys(state, "list", "--json", before=before).stdout)
    assert isinstance(found, list)
    return found


def test_a_key_is_the_only_thing_on_stdout(state: Path) -> None:
    """So that a script can take it; what else is to say goes to stderr, and does not repeat it."""
    added = keys(state, "add", "--tier", "basic", "--name", "Anna's desk")
    secret = added.stdout.strip()
    assert (added.returncode, is_well_formed_key(secret)) == (0, True)
    assert "1000 calls per month; it is shown only this once" in added.stderr
    assert secret not in added.stderr
    (key,) = listed(state)
    message = {name: key[name] for name in ("name", "tier", "quota", "limit", "used", "revoked")}
    assert message == {"name": "Anna's desk", "tier": "basic", "quota": None, "limit": 1000, "used": 0, "revoked": None}
    assert str(key["id"]) in added.stderr


def test_the_list_has_a_line_a_key_and_no_secret(state: Path) -> None:
    """Revoked keys stay in it."""
    secrets = [keys(state, "add", *options).stdout.strip() for options in (("--quota", "7"), ("--tier", "ultra"))]
    assert keys(state, "revoke", str(listed(state)[0]["id"])).returncode == 0
    table = keys(state, "list").stdout
    assert [line.split()[1:5] for line in table.splitlines()[1:]] == [
        ["free", "0", "7", "revoked"],
        ["ultra", "0", "any", "good"],
    ]
    assert not any(secret in table for secret in secrets)


def test_without_a_store_the_list_is_empty_and_none_is_made(state: Path) -> None:
    """Looking changes nothing."""
    assert listed(state) == []
    assert not state.exists()


@pytest.mark.parametrize("known", [False, True])
def test_an_unknown_id_is_a_usage_error(state: Path, known: bool) -> None:  # noqa: FBT001
    """With a store and without."""
    if known:
        keys(state, "add")
    revoked = keys(state, "revoke", "12345678")
    assert revoked.returncode == 2
    assert "no key has the id '12345678'" in revoked.stderr


def test_a_key_in_place_of_its_id_is_not_repeated(state: Path) -> None:
    """A terminal or the log of a job would keep it."""
    secret = keys(state, "add").stdout.strip()
    for shown in (secret, secret[:-1]):
        revoked = keys(state, "revoke", shown)
        assert revoked.returncode == 2
        assert "that is a key itself" in revoked.stderr
        assert shown not in revoked.stderr


def test_the_first_key_is_reported_to_close_a_server_without_keys(state: Path) -> None:
    first, second = keys(state, "add"), keys(state, "add")
    assert "a server with these keys refuses every request without a key" in first.stderr
    assert f"delete {state / 'serve-keys.sqlite3'} and start the server" in first.stderr
    assert "refuses" not in second.stderr


def test_revoking_the_last_valid_key_is_reported(state: Path) -> None:
    """Nobody can call then, because a store whose keys are all revoked does not open the server."""
    for _ in range(2):
        keys(state, "add")
    revoked = [keys(state, "revoke", str(key["id"])).stderr for key in listed(state)]
    assert "every key is revoked" not in revoked[0]
    assert "every key is revoked, so a server with these keys refuses every request but the operator's" in revoked[1]
    assert "make a key: pagemill serve keys add" in revoked[1]
    assert f"delete {state / 'serve-keys.sqlite3'} and start the server" in revoked[1]


@pytest.mark.parametrize(
    "options",
    [
        ("--tier", "gold"),
        ("--quota", "-1"),
        ("--quota", "1e9"),
        ("--quota", "9" * 30),
        ("--name", "two\nlines"),
        ("--name", "x" * 101),
    ],
)
def test_a_key_with_wrong_options_is_not_made(state: Path, options: tuple[str, str]) -> None:
    """Exit 2, as for every wrong option."""
    assert keys(state, "add", *options).returncode == 2
    assert listed(state) == []


def test_a_store_that_cannot_be_read_is_told(state: Path) -> None:
    """Exit 1 and its path."""
    state.mkdir()
    (state / "serve-keys.sqlite3").write_text("no database")
    found = keys(state, "list")
    assert found.returncode == 1
    assert "serve-keys.sqlite3: file is not a database" in found.stderr


@pytest.mark.parametrize("first", [True, False])
def test_the_configuration_may_stand_on_either_side(state: Path, first: bool) -> None:  # noqa: FBT001
    """`serve -c FILE keys add` and `serve keys add -c FILE` mean the same file."""
    config = state.parent / "server.toml"
    config.write_text(f'[serve]\nkeys = "{state.parent / "mine.sqlite3"}"\n')
    option = ("-c", str(config))
    added = keys(state, "add", before=option) if first else keys(state, "add", *option)
    assert added.returncode == 0
    assert (state.parent / "mine.sqlite3").exists()
    assert not state.exists()
    assert len(listed(state, before=option)) == 1


@pytest.mark.parametrize("embedded", [True, False])
def test_the_embedded_server_takes_no_key_of_the_store(
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    embedded: bool,  # noqa: FBT001
) -> None:
    """It belongs to its run, whose pages cost nobody's quota."""
    given: list[Keyring | None] = []

    async def serve(config: ServeConfig, *, keyring: Keyring | None, **_: object) -> None:
        given.append(keyring)

    monkeypatch.setattr(pipeline.cli.serve, "serve", serve)
    monkeypatch.setattr(pipeline.cli.serve, "stop_at_end_of_stdin", lambda _stop: lambda: None)
    run_server(Config(serve=ServeConfig(keys=state / "keys.sqlite3")), exit_with_parent=embedded)
    assert [keyring is None for keyring in given] == [embedded]

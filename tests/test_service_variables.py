"""Variables that Kubernetes and Docker make for a service called pagemill are no settings."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.config.load import check_variables, is_service_variable
from pipeline.errors import UsageError
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import results, run_command, start_command

PAGEMILL = {
    "PAGEMILL_SERVICE_HOST": "10.96.4.11",
    "PAGEMILL_SERVICE_PORT": "8080",
    "PAGEMILL_SERVICE_PORT_HTTP": "8080",
    "PAGEMILL_PORT": "tcp://10.96.4.11:8080",
    "PAGEMILL_PORT_8080_TCP": "tcp://10.96.4.11:8080",
    "PAGEMILL_PORT_8080_TCP_PROTO": "tcp",
    "PAGEMILL_PORT_8080_TCP_PORT": "8080",
    "PAGEMILL_PORT_8080_TCP_ADDR": "10.96.4.11",
    "PAGEMILL_PORT_53_UDP": "udp://10.96.4.11:53",
}
"""Of a service "pagemill" with two ports, as Kubernetes documents them."""

OTHERS = {
    "PAGEMILL_SERVE_PORT": "tcp://10.96.4.12:80",
    "PAGEMILL_SERVE_SERVICE_HOST": "10.96.4.12",
    "PAGEMILL_API_PORT": "tcp://[fd00::c]:443",
    "PAGEMILL_API_PORT_443_TCP_ADDR": "fd00::c",
    "PAGEMILL_API_SERVICE_PORT_HTTPS": "443",
    "PAGEMILL_LOG_PORT": "sctp://10.96.4.13:514",
}
"""Of services whose names begin with "pagemill-"; the first one has the name of a setting."""

LINKED = {"PAGEMILL_NAME": "/scanner/pagemill", "PAGEMILL_ENV_PATH": "/usr/bin", "PAGEMILL_PORT": "tcp://172.17.0.5:80"}
"""Of a container linked by Docker."""

ALL = PAGEMILL | OTHERS


@pytest.mark.parametrize("environ", [PAGEMILL, OTHERS, LINKED], ids=["pagemill", "pagemill-others", "docker-link"])
def test_the_variables_of_a_service_are_named_and_change_no_setting(environ: dict[str, str]) -> None:
    assert check_variables(environ, ()) == sorted(environ)
    assert load_config(environ=environ) == load_config()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PAGEMILL_PORT", "8080"), ("PAGEMILL_SERVE_PORT", "0"), ("PAGEMILL_HOST", "10.96.4.11"), ("PAGEMILL_PORT", "")],
)
def test_a_setting_of_the_same_name_stays_a_setting(name: str, value: str) -> None:
    assert not is_service_variable(name, value)


def test_a_port_given_as_a_number_counts_beside_the_variables_of_a_service() -> None:
    assert load_config(environ=ALL | {"PAGEMILL_PORT": "9000", "PAGEMILL_SERVE_PORT": "9001"}).serve.port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("PAGEMILL_SERVICE_PORT", "http", id="no-number"),
        pytest.param("PAGEMILL_PORT_8080_TCP_PROTO", "quic", id="no-protocol"),
        pytest.param("PAGEMILL_BUDGET_QOUTA", "3", id="misspelt"),
        pytest.param("PAGEMILL_NAME", "reading room", id="no-link"),
    ],
)
def test_a_variable_that_only_resembles_one_is_an_error(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"unknown variable {name}"):
        check_variables({name: value}, ())


def test_a_wrong_port_is_still_an_error() -> None:
    with pytest.raises(UsageError, match=r"serve\.port"):
        load_config(environ={"PAGEMILL_PORT": "http://10.96.4.11:8080"})


async def test_run_ignores_them_and_says_so(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, **ALL)
    assert (done.returncode, len(results(tmp_path / "out"))) == (0, 1)
    assert f"ignored, made for a service of Kubernetes or Docker: {', '.join(sorted(ALL))}".encode() in done.stderr


@pytest.mark.parametrize(
    "arguments", [("config", "check"), ("config", "show"), ("serve", "keys", "list")], ids=" ".join
)
async def test_other_commands_ignore_them_and_say_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = await run_command(*arguments, PAGEMILL_STATE_DIR=str(tmp_path), **ALL)
    assert done.returncode == 0
    assert b"PAGEMILL_PORT, " in done.stderr


@pytest.mark.engine
async def test_serve_ignores_them_and_says_so(tmp_path: Path) -> None:
    environ: dict[str, Any] = {"PAGEMILL_STATE_DIR": str(tmp_path), **ALL}
    async with start_command("serve", "--port", "0", "--workers", "1", **environ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert (await server.stdout.receive()).startswith(b"http://127.0.0.1:")
        assert b"PAGEMILL_PORT, " in await server.stderr.receive()
        os.kill(server.pid, signal.SIGTERM)
        assert await server.wait() == 0

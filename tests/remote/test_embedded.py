"""The embedded service: a server process that lives as long as the run does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from aiohttp import ClientSession

from pipeline.config import Config, ServeConfig
from pipeline.convert.command import child_environ, module_command
from pipeline.errors import EngineError, UsageError
from pipeline.remote.embedded import embedded_service, serve_command
from tests.server.processes import children, is_running, wait_until
from tests.server.serving import IMAGE, request_body

COMMAND = module_command("tests.server.scripted_server")


async def post(url: str, key: str | None) -> tuple[int, str]:
    """Send a page; return the status and the text."""
    query = f"?key={key}" if key else ""
    async with (
        ClientSession() as session,
        session.post(f"{url}/api/text-recognition{query}", data=request_body()) as response,
    ):
        return response.status, (await response.json()).get("content", "")


async def test_the_service_answers_its_own_key_and_no_other() -> None:
    """Other users of the machine cannot spend its cores."""
    async with embedded_service(Config(), command=COMMAND) as service:
        assert service.name == "embedded"
        assert not service.metered
        assert service.key is not None
        assert await post(service.base_url, service.key) == (200, str(len(IMAGE)))
        assert await post(service.base_url, None) == (401, "")


async def test_each_run_has_a_key_of_its_own() -> None:
    """It is random, and in no representation."""
    async with (
        embedded_service(Config(), command=COMMAND) as one,
        embedded_service(Config(), command=COMMAND) as other,
    ):
        assert one.key != other.key
        assert one.key is not None
        assert one.key not in repr(one)


async def test_the_server_ends_with_the_block() -> None:
    """Even when the block fails, and the block's own error comes through unchanged."""
    before = set(children(os.getpid()))
    pids: set[int] = set()

    async def fail() -> None:
        async with embedded_service(Config(), command=COMMAND):
            pids.update(set(children(os.getpid())) - before)
            raise KeyError("the run's own")

    with pytest.raises(KeyError, match="the run's own"):
        await fail()
    assert len(pids) == 1
    assert not any(map(is_running, pids))


async def test_a_server_that_does_not_start_is_told_in_its_own_last_words() -> None:
    """The reason is on its stderr."""
    with pytest.raises(EngineError, match=r"does not start: pagemill: the recognition engine is not installed$"):
        async with embedded_service(Config(), command=[*COMMAND, "--fail"]):
            pass


async def test_a_wrong_setting_of_the_server_is_a_usage_error_of_the_run() -> None:
    with pytest.raises(UsageError, match=r"does not start: pagemill: \[serve\] precision: no such processor$"):
        async with embedded_service(Config(), command=[*COMMAND, "--wrong-setting"]):
            pass


PARENT = """
import asyncio, os, signal, sys
from pipeline.config import Config
from pipeline.remote.embedded import embedded_service

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored

async def main():
    async with embedded_service(Config(), command=sys.argv[1:]) as service:
        print(service.base_url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def kill_hard(process: "subprocess.Popen[bytes]") -> None:
    """End it as the kernel does when memory runs out."""
    process.kill()


def interrupt_group(process: "subprocess.Popen[bytes]") -> None:
    """Send what Ctrl-C in a terminal sends, to the whole process group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("end", [kill_hard, interrupt_group])
def test_the_server_never_outlives_the_run(end: Callable[["subprocess.Popen[bytes]"], None]) -> None:
    """Its stdin ends, whatever ended the run."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *COMMAND],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environ(os.environ),
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().startswith(b"http://127.0.0.1:")
    (server,) = children(parent.pid)
    end(parent)
    parent.wait(timeout=20)
    parent.stdout.close()
    wait_until(lambda: not is_running(server))


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server() -> None:
    """The run drains first; its server is in another session."""
    before = set(children(os.getpid()))
    async with embedded_service(Config(), command=COMMAND) as service:
        (pid,) = set(children(os.getpid())) - before
        assert os.getsid(pid) != os.getsid(0)
        assert (await post(service.base_url, service.key))[0] == 200


def test_the_command_names_the_configured_engine() -> None:
    """A free port of this machine, until stdin ends."""
    command = serve_command(ServeConfig(host="0.0.0.0", port=9000, engine="fast", backend="onnxruntime", workers=3))
    assert " ".join(command[1:]) == (
        "-P -m pipeline serve --host 127.0.0.1 --port 0 --engine fast --backend onnxruntime --precision f32 "
        "--workers 3 --exit-with-parent"
    )

"""`pagemill serve`: the text-recognition API on this machine."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import click

from pipeline.cli.console import print_text
from pipeline.cli.help import GroupedOption, LazyCommand, LazyGroup
from pipeline.cli.options import config_option, load, setting
from pipeline.cli.signals import watch_signals
from pipeline.config import Config
from pipeline.errors import StopError
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import keys_file
from pipeline.server.serve import read_serve_key, serve, stop_at_end_of_stdin


def run_server(config: Config, *, exit_with_parent: bool) -> int:
    """Serve until a signal or, on request, the end of stdin; a second signal ends the process at once."""
    key = read_serve_key(os.environ)
    failure: StopError | BrokenPipeError | None = None

    async def serve_until_end() -> None:
        nonlocal failure
        stop = anyio.Event()
        async with anyio.create_task_group() as background:
            background.start_soon(watch_signals, lambda _: stop.set(), "requests")
            unwatch = stop_at_end_of_stdin(stop) if exit_with_parent else None
            try:
                # A parent process passes its own key in the environment; keys of the store must not open this server.
                async with nullcontext() if exit_with_parent else Keyring(keys_file(config.serve)) as keyring:
                    await serve(config.serve, key=key, stop=stop, ready=_print_base_url, keyring=keyring)
            except (StopError, BrokenPipeError) as exc:  # raised here, it would arrive in an exception group
                failure = exc
            finally:
                if unwatch is not None:
                    unwatch()
            background.cancel_scope.cancel()

    anyio.run(serve_until_end)
    if failure is not None:
        raise failure
    return 0


def _print_base_url(base_url: str) -> None:
    print_text(base_url + "\n")


@click.pass_context
def _command(context: click.Context, /, config_file: Path | None, *, exit_with_parent: bool, **options: Any) -> int:
    """Run `pagemill serve`, unless a command of the group follows."""
    if context.invoked_subcommand is not None:
        context.obj = config_file  # `serve -c FILE keys list` reads that file
        return 0
    # A parent process has read the configuration and passes all of it in flags.
    return run_server(load(config_file, options, only_flags=exit_with_parent), exit_with_parent=exit_with_parent)


command = LazyGroup(
    "serve",
    callback=_command,
    params=[
        *(
            setting(f"serve.{name}")
            for name in ("host", "port", "engine", "backend", "precision", "workers", "allow_urls")
        ),
        config_option(),
        GroupedOption(["--exit-with-parent"], is_flag=True, hidden=True, help="End when stdin is closed."),
    ],
    help="Serve the text-recognition API on this machine. Prints the base URL once requests are accepted; without any "
    "key it listens on loopback only.",
    lazy={"keys": LazyCommand("pipeline.cli.keys", "Add, list and revoke the keys of callers.")},
    examples=(
        "pagemill serve --port 8080",
        'pagemill serve keys add --tier basic --name "reading room"',
        "pagemill serve --host 0.0.0.0",
    ),
    exit_codes=(0, 1, 2),
)

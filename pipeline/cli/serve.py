"""`pagemill serve` and `pagemill serve keys`: thin; what a command needs is imported when it runs."""

from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import config_flag, flag, json_flag, load


@click.group(invoke_without_command=True)
@flag("--host", help="Address to listen on (127.0.0.1).")
@flag("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one (8080).")
@flag("--workers", type=click.IntRange(min=0), help="Engine processes; 0 chooses by the cores.")
@flag(
    "--engine",
    type=click.Choice(["accurate", "fast"]),
    help="fast: tiny models alone (accurate).",
)
@flag("--backend", type=click.Choice(["auto", "openvino", "onnxruntime", "cuda"]), help="What runs them (auto).")
@flag("--allow-urls", is_flag=True, help="Fetch images that callers name by a URL (public hosts only).")
@config_flag
@click.option("--exit-with-parent", is_flag=True, hidden=True, help="End when stdin is closed.")
@click.pass_context
def serve(context: click.Context, /, config_file: Path | None, *, exit_with_parent: bool, **options: Any) -> int:
    """Serve the text-recognition API on this machine; prints its base URL once it can answer."""
    if context.invoked_subcommand is not None:
        context.obj = config_file  # `serve -c FILE keys list` means that file
        return 0
    from pipeline.cli.run import run_server  # noqa: PLC0415 - keeps --help quick

    # Whoever starts it as a part of itself has read the configuration, and says all of it by flags.
    return run_server(load(config_file, options, alone=exit_with_parent), exit_with_parent=exit_with_parent)


@serve.group()
def keys() -> None:
    """Add, list and revoke the keys that callers show; a running server follows at once."""


@keys.command("add")
@click.option("--tier", type=click.Choice(["free", "basic", "pro", "ultra"]), default="free", show_default=True)
@click.option("--quota", type=click.IntRange(0, 10**12), metavar="N", help="Calls a month, instead of the tier's.")
@click.option("--name", default="", metavar="TEXT", help="Whose it is.")
@config_flag
@click.pass_obj
def add(group_file: Path | None, config_file: Path | None, *, tier: Any, quota: int | None, name: str) -> None:
    """Make a key (30, 1,000, 5,000 or any calls a month) and print it; it cannot be shown again."""
    from pipeline.cli.keys import add_key  # noqa: PLC0415 - keeps --help quick

    add_key(load(config_file or group_file, {}).serve, tier=tier, quota=quota, name=name)


@keys.command("list")
@config_flag
@json_flag
@click.pass_obj
def list_(group_file: Path | None, config_file: Path | None, *, as_json: bool) -> None:
    """List the keys by their ids, with this month's calls."""
    from pipeline.cli.keys import list_keys  # noqa: PLC0415 - keeps --help quick

    list_keys(load(config_file or group_file, {}).serve, as_json=as_json)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@config_flag
@click.pass_obj
def revoke(group_file: Path | None, config_file: Path | None, *, key_id: str) -> None:
    """Refuse a key from now on, by its id."""
    from pipeline.cli.keys import revoke_key  # noqa: PLC0415 - keeps --help quick

    revoke_key(load(config_file or group_file, {}).serve, key_id)

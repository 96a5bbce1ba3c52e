"""Commands, flags, signals and exit codes; thin. What a command needs is imported when it runs."""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from pipeline.errors import StopError, UsageError

if TYPE_CHECKING:
    from pipeline.config import Config

_F = TypeVar("_F", bound=Callable[..., object])

_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "jobs": ("run", "jobs"),
    "rate": ("run", "rate_per_s"),
    "max_calls": ("run", "max_calls"),
    "max_duration": ("run", "max_duration"),
    "max_failures": ("run", "max_failures"),
    "limit": ("run", "limit"),
    "retries": ("run", "retries"),
    "at_most_once": ("run", "at_most_once"),
    "include": ("input", "include"),
    "exclude": ("input", "exclude"),
    "changed_by": ("input", "changed_by"),
    "tier": ("budget", "tier"),
    "quota": ("budget", "quota"),
    "ledger": ("budget", "ledger"),
    "dedup": ("prepare", "dedup"),
    "timeout": ("api", "timeout_s"),
    "api_url": ("api", "url"),
    "api_key_file": ("api", "key_file"),
    "log_format": ("log", "format"),
    "host": ("serve", "host"),
    "port": ("serve", "port"),
    "workers": ("serve", "workers"),
    "engine": ("serve", "engine"),
}
"""Which configuration key a flag sets."""

_OTHER_VARIABLES: Final = frozenset({"PAGEMILL_API_KEY", "PAGEMILL_SERVE_KEY", "PAGEMILL_STATE_DIR"})


def main() -> None:
    """Run the command line; the one place where errors become exit codes."""
    _open_missing_streams()
    try:
        code = cli.main(standalone_mode=False, prog_name="pagemill")
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as exc:
        print(f"pagemill: error: {exc.format_message()}", file=sys.stderr)  # noqa: T201 - stderr is where errors go
        code = exc.exit_code
    except StopError as exc:
        from pipeline.logs import printable_line  # noqa: PLC0415 - keeps --help quick

        print(f"pagemill: error: {printable_line(str(exc))}", file=sys.stderr)  # noqa: T201 - stderr is where errors go
        code = exc.exit_code
    except BrokenPipeError:  # whoever read our stdout has gone
        code = 1
    _leave(code if isinstance(code, int) else 0)


def _open_missing_streams() -> None:
    """Put the null device where a standard stream is closed (`2>&-`), so that nobody need ask whether it is there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - lives as long as we do


def _leave(code: int) -> NoReturn:
    """End the process as Python would not: whatever a stream or a thread says to that."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what a full or closed stream still holds is dropped, or Python would end with 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join(1.0)
            if thread.is_alive():  # it waits for a dead network mount, perhaps for ever
                os._exit(code)
    sys.exit(code)


def _flag(*names: str, **options: Any) -> Callable[[_F], _F]:
    """Return a click option that `PAGEMILL_<FLAG>` sets too; None means that nobody said anything."""
    environment = "PAGEMILL_" + names[-1].split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=environment, default=options.pop("default", None), **options)


_config_flag = click.option(
    "-c",
    "--config",
    "config_file",
    envvar="PAGEMILL_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file.",
)
_json_flag = click.option("--json", "as_json", is_flag=True, help="Print an object on stdout.")


def _budget_flags(command: _F) -> _F:
    for decorate in (
        _flag("--ledger", metavar="DIR", help="Where ledgers lie, instead of the user's state directory."),
        _flag("--quota", type=click.IntRange(min=0), help="Calls a month, instead of a tier."),
        _flag("--tier", type=click.Choice(["free", "basic", "pro", "ultra"]), help="30, 1,000, 5,000 or any calls."),
        _flag("--api-key-file", type=click.Path(path_type=Path), help="File that holds the API key."),
        _flag(
            "--api-url", metavar="URL", help="Base URL of the API; without a key and without it, the embedded engine."
        ),
    ):
        command = decorate(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pagemill", prog_name="pagemill")
def cli() -> None:
    """Turn folders and manifests of page images into one JSONL record a page."""


@cli.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Workspace.")
@_flag("-j", "--jobs", type=click.IntRange(min=1), help="Pages under way at a time (8).")
@_flag("--rate", type=click.FloatRange(min=0, min_open=True), help="Calls a second at most.")
@_flag("--max-calls", type=click.IntRange(min=0), help="Stop after so many calls (exit 8).")
@_flag("--max-duration", metavar="TIME", help="Stop after so long, such as 3600 or 8h (exit 10).")
@_flag("--max-failures", type=click.IntRange(min=0), help="Stop when more pages failed (exit 12).")
@_flag("--limit", type=click.IntRange(min=0), help="Take only so many new files.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Take these files of a directory, whatever their suffix."
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files and directories out.")
@_flag("--changed-by", type=click.Choice(["mtime", "sha256"]), help="How a changed file is recognised (mtime).")
@_flag("--retries", type=click.IntRange(min=0), help="Further attempts after one that failed (2).")
@_flag("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds that a call may take (120).")
@_flag("--at-most-once", is_flag=True, help="Never send a page again whose call may have been billed.")
@_flag("--dedup/--no-dedup", help="Send the same content once (default), or each copy.")
@_flag("--local", is_flag=True, help="Use the embedded engine, whatever key there is.")
@_flag("--switch-service", is_flag=True, help="Let another service than before fill the workspace.")
@click.option("-0", "null_separated", is_flag=True, help="Paths on stdin are separated by NUL.")
@_budget_flags
@_config_flag
@_json_flag
@_flag("--log-format", type=click.Choice(["text", "json"]), help="How stderr looks (text).")
@click.option("-q", "--quiet", count=True, help="Say less (twice: errors only).")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@_flag("--no-progress", is_flag=True, help="No bar on a terminal.")
def run(inputs: tuple[str, ...], output: Path, config_file: Path | None, **options: Any) -> int:
    """Recognise the pages of INPUT (directories, files, globs, manifests, URLs, or - for paths on stdin).

    Running it again resumes: what is done is not sent again.
    """
    from pipeline.commands import run_job  # noqa: PLC0415 - keeps --help quick

    quiet, verbose = options.pop("quiet"), options.pop("verbose")
    level = "debug" if verbose else {0: None, 1: "warning"}.get(quiet, "error")
    config = _load(config_file, options, level=level)
    return run_job(
        inputs,
        output,
        config,
        local=bool(options["local"]),
        prefer_key_file=options["api_key_file"] is not None,
        switch_service=bool(options["switch_service"]),
        null_separated=options["null_separated"],
        bar=sys.stderr.isatty() and not options["no_progress"] and not quiet,
        as_json=options["as_json"],
    )


@cli.command()
@_flag("--host", help="Address to listen on (127.0.0.1).")
@_flag("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one (8080).")
@_flag("--workers", type=click.IntRange(min=0), help="Engine processes; 0 chooses by the cores.")
@_flag("--engine", type=click.Choice(["auto", "openvino", "onnxruntime"]), help="Inference runtime (auto).")
@_config_flag
@click.option("--exit-with-parent", is_flag=True, hidden=True, help="End when stdin is closed.")
def serve(config_file: Path | None, *, exit_with_parent: bool, **options: Any) -> int:
    """Serve the text-recognition API on this machine; prints its base URL once it can answer."""
    from pipeline.commands import run_server  # noqa: PLC0415 - keeps --help quick

    # Whoever starts it as a part of itself has read the configuration, and says all of it by flags.
    return run_server(_load(config_file, options, alone=exit_with_parent), exit_with_parent=exit_with_parent)


@cli.command()
@click.argument("workspace", type=click.Path(path_type=Path))
@_json_flag
def status(workspace: Path, *, as_json: bool) -> int:
    """Tell where a workspace stands."""
    from pipeline.show import show_status  # noqa: PLC0415 - keeps --help quick

    _set_up_default_logging()
    return show_status(workspace, as_json=as_json)


@cli.command()
@click.argument("workspace", type=click.Path(path_type=Path))
def verify(workspace: Path) -> int:
    """Check that the accounts add up; exit 1 and a line for each fault when they do not."""
    from pipeline.show import verify_workspace  # noqa: PLC0415 - keeps --help quick

    _set_up_default_logging()
    return verify_workspace(workspace)


@cli.command()
@_budget_flags
@_config_flag
@_json_flag
@click.option("--already-used", type=click.IntRange(min=0), help="Calls used this month, by the vendor's dashboard.")
def quota(config_file: Path | None, *, as_json: bool, already_used: int | None, **options: Any) -> int:
    """Show the ledger of the API key by month."""
    from pipeline.show import show_quota  # noqa: PLC0415 - keeps --help quick

    prefer_key_file = options["api_key_file"] is not None
    loaded = _load(config_file, options)
    return show_quota(loaded, already_used=already_used, prefer_key_file=prefer_key_file, as_json=as_json)


@cli.group()
def config() -> None:
    """Show or check the configuration."""


@config.command("show")
@_config_flag
def config_show(config_file: Path | None) -> None:
    """Print the configuration in force, as TOML."""
    from pipeline.show import format_config  # noqa: PLC0415 - keeps --help quick

    click.echo(format_config(_load(config_file, {})), nl=False)


@config.command("check")
@_config_flag
def config_check(config_file: Path | None) -> None:
    """Exit 2 with the key's name when something in the configuration is wrong."""
    _load(config_file, {})
    click.echo("the configuration is valid", err=True)


def _check_environment() -> None:
    """Raise when a variable looks like a setting and is none: a limit that is misspelt would not limit."""
    import difflib  # noqa: PLC0415 - keeps --help quick

    from pipeline.config import keys  # noqa: PLC0415 - keeps --help quick

    known = {f"PAGEMILL_{section}_{key}".upper() for section, key in keys()} | _OTHER_VARIABLES
    for command in cli.commands.values():
        known.update(str(option.envvar) for option in command.params if option.envvar)
    for name in sorted(os.environ):
        if name.startswith("PAGEMILL_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"environment: unknown variable {name}{hint}")


def _set_up_default_logging() -> None:
    from pipeline.config import LogConfig  # noqa: PLC0415 - keeps --help quick
    from pipeline.logs import set_up_logging  # noqa: PLC0415 - keeps --help quick

    set_up_logging(LogConfig())


def _load(
    config_file: Path | None, options: Mapping[str, Any], *, level: str | None = None, alone: bool = False
) -> "Config":
    """Return the configuration with the flags on top, and set up logging by it; from flags alone when asked to."""
    import platformdirs  # noqa: PLC0415 - keeps --help quick

    from pipeline.config import load_config  # noqa: PLC0415 - keeps --help quick
    from pipeline.logs import set_up_logging  # noqa: PLC0415 - keeps --help quick

    flags: dict[tuple[str, str], Any] = {
        _KEYS[name]: value for name, value in options.items() if name in _KEYS and value not in {None, ()}
    }
    if not options.get("at_most_once"):
        flags.pop(("run", "at_most_once"), None)  # a flag that is not given says nothing
    if level is not None:
        flags["log", "level"] = level
    if alone:
        loaded = load_config(flags=flags, read_files=False)
    else:
        _check_environment()
        user_dir = platformdirs.user_config_path("pagemill")
        loaded = load_config(config_file, flags=flags, environ=os.environ, user_dir=user_dir)
    set_up_logging(loaded.log)
    return loaded

"""Commands, flags, signals and exit codes; thin. What a command needs is imported when it runs."""

import os
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import click

from pipeline.cli.options import budget_flags, config_flag, flag, json_flag, load
from pipeline.cli.serve import serve
from pipeline.errors import StopError, one_line


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
        print(f"pagemill: error: {one_line(str(exc))}", file=sys.stderr)  # noqa: T201 - stderr is where errors go
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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pagemill", prog_name="pagemill")
def cli() -> None:
    """Turn folders and manifests of page images into one JSONL record a page."""


cli.add_command(serve)


@cli.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Workspace.")
@flag("-j", "--jobs", type=click.IntRange(min=1), help="Pages under way at a time (8).")
@flag("--rate", type=click.FloatRange(min=0, min_open=True), help="Calls a second at most.")
@flag("--max-calls", type=click.IntRange(min=0), help="Stop after so many calls (exit 8).")
@flag("--max-duration", metavar="TIME", help="Stop after so long, such as 3600 or 8h (exit 10).")
@flag("--max-failures", type=click.IntRange(min=0), help="Stop when more pages failed (exit 12).")
@flag("--limit", type=click.IntRange(min=0), help="Take only so many new files.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Take these files of a directory, whatever their suffix."
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files and directories out.")
@flag("--changed-by", type=click.Choice(["mtime", "sha256"]), help="How a changed file is recognised (mtime).")
@flag("--retries", type=click.IntRange(min=0), help="Further attempts after one that failed (2).")
@flag("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds that a call may take (120).")
@flag("--at-most-once", is_flag=True, help="Never send a page again whose call may have been billed.")
@flag("--dedup/--no-dedup", help="Send the same content once (default), or each copy.")
@flag("--local", is_flag=True, help="Use the embedded engine, whatever key there is.")
@flag("--switch-service", is_flag=True, help="Let another service than before fill the workspace.")
@click.option("-0", "null_separated", is_flag=True, help="Paths on stdin are separated by NUL.")
@budget_flags
@config_flag
@json_flag
@flag("--log-format", type=click.Choice(["text", "json"]), help="How stderr looks (text).")
@click.option("-q", "--quiet", count=True, help="Say less (twice: errors only).")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@flag("--no-progress", is_flag=True, help="No bar on a terminal.")
def run(inputs: tuple[str, ...], output: Path, config_file: Path | None, **options: Any) -> int:
    """Recognise the pages of INPUT (directories, files, globs, manifests, URLs, or - for paths on stdin).

    Running it again resumes: what is done is not sent again.
    """
    from pipeline.cli.run import run_job  # noqa: PLC0415 - keeps --help quick

    quiet, verbose = options.pop("quiet"), options.pop("verbose")
    level = "debug" if verbose else {0: None, 1: "warning"}.get(quiet, "error")
    config = load(config_file, options, level=level)
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
@click.argument("workspace", type=click.Path(path_type=Path))
@json_flag
def status(workspace: Path, *, as_json: bool) -> int:
    """Tell where a workspace stands."""
    from pipeline.cli.inspect import show_status  # noqa: PLC0415 - keeps --help quick

    _set_up_default_logging()
    return show_status(workspace, as_json=as_json)


@cli.command()
@click.argument("workspace", type=click.Path(path_type=Path))
def verify(workspace: Path) -> int:
    """Check that the accounts add up; exit 1 and a line for each fault when they do not."""
    from pipeline.cli.inspect import verify_workspace  # noqa: PLC0415 - keeps --help quick

    _set_up_default_logging()
    return verify_workspace(workspace)


@cli.command()
@budget_flags
@config_flag
@json_flag
@click.option("--already-used", type=click.IntRange(min=0), help="Calls used this month, by the vendor's dashboard.")
def quota(config_file: Path | None, *, as_json: bool, already_used: int | None, **options: Any) -> int:
    """Show the ledger of the API key by month."""
    from pipeline.cli.inspect import show_quota  # noqa: PLC0415 - keeps --help quick

    prefer_key_file = options["api_key_file"] is not None
    loaded = load(config_file, options)
    return show_quota(loaded, already_used=already_used, prefer_key_file=prefer_key_file, as_json=as_json)


@cli.group()
def config() -> None:
    """Show or check the configuration."""


@config.command("show")
@config_flag
def config_show(config_file: Path | None) -> None:
    """Print the configuration in force, as TOML."""
    from pipeline.cli.inspect import format_config  # noqa: PLC0415 - keeps --help quick

    click.echo(format_config(load(config_file, {})), nl=False)


@config.command("check")
@config_flag
def config_check(config_file: Path | None) -> None:
    """Exit 2 with the key's name when something in the configuration is wrong."""
    load(config_file, {})
    click.echo("the configuration is valid", err=True)


def _set_up_default_logging() -> None:
    from pipeline.cli.console import set_up_logging  # noqa: PLC0415 - keeps --help quick
    from pipeline.config import LogConfig  # noqa: PLC0415 - keeps --help quick

    set_up_logging(LogConfig())

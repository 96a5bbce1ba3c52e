"""The command line: finds the command, loads it, and turns errors into exit codes."""

import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

import click

from pipeline.cli.help import LazyCommand, LazyGroup
from pipeline.errors import StopError, one_line
from pipeline.exit_codes import EXIT_CODES

cli = click.version_option(package_name="pagemill", prog_name="pagemill")(
    LazyGroup(
        "pagemill",
        help="Turn folders and manifests of page images into one JSONL record per page.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
        lazy={
            "run": LazyCommand("pipeline.cli.run", "Recognise the pages of INPUT; running it again resumes."),
            "plan": LazyCommand("pipeline.cli.plan", "Forecast a run: pages, calls, months; sends nothing."),
            "status": LazyCommand("pipeline.cli.status", "Show how many pages of a workspace are in which state."),
            "verify": LazyCommand("pipeline.cli.verify", "Check that lines, index and ledger of a workspace agree."),
            "failures": LazyCommand(
                "pipeline.cli.failures", "List the pages that failed, and whether the next run tries them."
            ),
            "retry": LazyCommand("pipeline.cli.retry", "Recognise the pages of a workspace that failed."),
            "export": LazyCommand("pipeline.cli.export", "Write the texts of a workspace in another format."),
            "report": LazyCommand("pipeline.cli.report", "Write a report for a browser: see and correct pages."),
            "correct": LazyCommand("pipeline.cli.correct", "Fold corrections in; accept lines edited by hand."),
            "merge": LazyCommand("pipeline.cli.merge", "Join the workspaces of shards into one."),
            "quota": LazyCommand("pipeline.cli.quota", "Show the calls that the ledger of the API key has counted."),
            "serve": LazyCommand("pipeline.cli.serve", "Serve the text-recognition API on this machine."),
            "config": LazyCommand("pipeline.cli.config", "Show or check the configuration, or print an example file."),
            "schedule": LazyCommand(
                "pipeline.cli.schedule", "Print systemd units or a crontab line for a nightly run."
            ),
            "completion": LazyCommand("pipeline.cli.completion", "Print the completion script of a shell."),
        },
        exit_codes=tuple(EXIT_CODES),
    )
)


def main() -> None:
    """Run the command line and exit; the one place where errors become exit codes."""
    _open_missing_streams()
    if not os.environ.get("HOME", "/"):
        del os.environ["HOME"]  # an empty one would mean the root directory
    try:
        code = cli.main(standalone_mode=False, prog_name="pagemill")
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as exc:
        code = _fail(exc.format_message(), exc.exit_code)
    except StopError as exc:
        code = _fail(str(exc), exc.exit_code)
    except BrokenPipeError:  # the reader of stdout has exited
        code = 1
    except OSError as exc:  # a full device, no file descriptor left: conditions of the machine need no traceback
        code = _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror or exc), 1)
    _leave(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    """Print an error on stderr, if that takes it, and return the exit code."""
    with suppress(OSError):
        print(f"pagemill: error: {one_line(message)}", file=sys.stderr)  # noqa: T201 - stderr is where errors go
    return code


def _open_missing_streams() -> None:
    """Open the null device for each standard stream that is closed (`2>&-`), so that other code can rely on them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - lives as long as we do


def _leave(code: int) -> NoReturn:
    """Flush, join threads for at most 1 s each, and exit with `code`; a stuck thread cannot change it.

    Output that cannot be written makes a success an error; messages that cannot be written do not.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # drop what the stream still buffers, or Python would exit with 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = 1 if code == 0 and stream is sys.stdout else code
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join(1.0)
            if thread.is_alive():  # it is blocked, for example on a dead network mount
                os._exit(code)
    sys.exit(code)

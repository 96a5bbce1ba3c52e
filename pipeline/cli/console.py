"""What the command line writes: logs on stderr, as text or JSON, above a progress bar; results on stdout."""

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

import orjson

from pipeline.config import LogConfig
from pipeline.errors import StorageError, UsageError, one_line
from pipeline.records import rfc3339
from pipeline.wire import replace_surrogates


class _StderrHandler(logging.Handler):
    """Writes to stderr, above the progress bar when there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # closed before Python started; `print` would then write to stdout
            return
        try:
            line = replace_surrogates(self.format(record))
            if "tqdm" in sys.modules:
                sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr)  # noqa: T201 - stderr is this handler's purpose
        except (OSError, ValueError):  # stderr is closed or full; results matter more than messages
            self.handleError(record)


class _FileHandler(WatchedFileHandler):
    """Appends to a file, also after another program has moved it away; when it takes nothing, says so once.

    `WatchedFileHandler` lets the errors of reopening escape to whoever logs, and prints a traceback for each line that
    a full disk does not take.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="replace")
        self._has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # a full disk does not take what is left in the buffer
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        del record
        if not self._has_failed:
            self._has_failed = True  # first, for the warning comes here, too
            reason = getattr(sys.exception(), "strerror", None) or sys.exception()
            logging.getLogger("pagemill").warning("log file %s: %s; its lines are lost", self.baseFilename, reason)


class _TextFormatter(logging.Formatter):
    """Lines for people.

    Args:
        dated: True puts the time before each line.
    """

    def __init__(self, *, dated: bool = False) -> None:
        super().__init__()
        self._is_dated = dated

    def format(self, record: logging.LogRecord) -> str:
        moment = f"{rfc3339(datetime.fromtimestamp(record.created, UTC))} " if self._is_dated else ""
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{moment}pagemill: {prefix}{one_line(record.getMessage())}"


class _JsonFormatter(logging.Formatter):
    """One object per line.

    Args:
        run_id: The run's id, for each line; None for none.
    """

    def __init__(self, run_id: str | None = None) -> None:
        super().__init__()
        self._run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        moment = rfc3339(datetime.fromtimestamp(record.created, UTC))
        fields = {"time": moment, "level": record.levelname.lower(), "message": replace_surrogates(record.getMessage())}
        if self._run_id is not None:
            fields["run"] = self._run_id
        for name in ("page", "class"):
            if (value := getattr(record, name, None)) is not None:
                fields[name] = value
        return orjson.dumps(fields).decode()


def set_up_logging(
    config: LogConfig | None = None, *, stderr_level: str | None = None, run_id: str | None = None
) -> None:
    """Log pagemill's messages to stderr, by default as text at level info; those of a run also to its log file.

    Args:
        config: The `[log]` section.
        stderr_level: Lowest level on stderr; None for that of the configuration.
        run_id: The run's id; None for a command that is no run.

    Raises:
        UsageError: the log file cannot be opened.
    """
    config = config if config is not None else LogConfig()
    logger = logging.getLogger("pagemill")
    while logger.handlers:
        logger.removeHandler(handler := logger.handlers[0])
        if isinstance(handler, _FileHandler):
            handler.close()
    stderr = _StderrHandler((stderr_level or config.level).upper())
    stderr.setFormatter(_make_formatter(config.format, run_id))
    logger.addHandler(stderr)
    if config.file is not None and run_id is not None:
        try:
            file = _FileHandler(config.file)
        except OSError as exc:
            raise UsageError(f"log file {config.file}: {exc.strerror or exc}") from exc
        file.setFormatter(_make_formatter(config.file_format, run_id, dated=True))
        logger.addHandler(file)
    logger.setLevel(config.level.upper() if len(logger.handlers) > 1 else stderr.level)
    logger.propagate = False


def _make_formatter(name: str, run_id: str | None, *, dated: bool = False) -> logging.Formatter:
    return _JsonFormatter(run_id) if name == "json" else _TextFormatter(dated=dated)


def print_json(value: object) -> None:
    """Write a value as indented JSON to stdout."""
    print_text(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def print_text(text: str) -> None:
    """Write to stdout and flush.

    Raises:
        StorageError: stdout cannot be written, for example because its disk is full.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageError(f"stdout: {exc.strerror or exc}") from exc

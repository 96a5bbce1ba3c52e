"""What the command line writes: logs on stderr, as text or JSON, above a progress bar; results on stdout."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from pipeline.config import LogConfig
from pipeline.errors import StorageError, one_line
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


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"pagemill: {prefix}{one_line(record.getMessage())}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = rfc3339(datetime.fromtimestamp(record.created, UTC))
        fields = {"time": moment, "level": record.levelname.lower(), "message": replace_surrogates(record.getMessage())}
        for name in ("page", "class"):
            if (value := getattr(record, name, None)) is not None:
                fields[name] = value
        return orjson.dumps(fields).decode()


def set_up_logging(config: LogConfig | None = None) -> None:
    """Log pagemill's messages to stderr, by default as text at level info."""
    config = config if config is not None else LogConfig()
    handler = _StderrHandler()
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    logger = logging.getLogger("pagemill")
    logger.handlers[:] = [handler]
    logger.setLevel(config.level.upper())
    logger.propagate = False


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

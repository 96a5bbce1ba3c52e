"""What stderr tells, as text or as JSON, without tearing a progress bar."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from pipeline.config import LogConfig
from pipeline.errors import one_line
from pipeline.records import rfc3339
from pipeline.wire import replace_surrogates


class _StderrHandler(logging.Handler):
    """Writes above the progress bar when there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # closed before Python started; without a file, `print` would write to stdout
            return
        try:
            line = self.format(record)
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


def set_up_logging(config: LogConfig) -> None:
    """Send pagemill's messages to stderr."""
    handler = _StderrHandler()
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    logger = logging.getLogger("pagemill")
    logger.handlers[:] = [handler]
    logger.setLevel(config.level.upper())
    logger.propagate = False

"""Where the API key comes from; it is never a flag, since flags show in `ps`."""

import shlex
import subprocess
from collections.abc import Mapping
from typing import Final

from pipeline.config import ApiConfig
from pipeline.errors import UsageError

_VARIABLES: Final = ("PAGEMILL_API_KEY", "LLMOCR_API_KEY")


def read_key(api: ApiConfig, environ: Mapping[str, str], *, prefer_file: bool = False) -> str | None:
    """Return the API key from the environment, `key_file` or `key_command`; None when none is configured.

    Args:
        api: The `[api]` section.
        environ: The environment.
        prefer_file: True when `key_file` was given as a flag, which goes before the environment.

    Raises:
        UsageError: the file cannot be read, the command fails, or what they give is no key.
    """
    names = () if prefer_file and api.key_file is not None else _VARIABLES
    key = next((environ[name] for name in names if environ.get(name)), None)
    origin = "the environment"
    if key is None and api.key_file is not None:
        origin = str(api.key_file)
        try:
            key = api.key_file.expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"{origin}: cannot read the API key: {getattr(exc, 'strerror', exc)}") from exc
    elif key is None and api.key_command is not None:
        origin = "key_command"
        key = _run_key_command(api.key_command)
    if key is None:
        return None
    key = key.strip()
    if not key or not key.isprintable() or " " in key:
        raise UsageError(f"{origin}: not an API key (empty, or with spaces or control characters in it)")
    return key


def _run_key_command(command: str) -> str:
    try:
        # Its stdin is not ours: that may be the list of pages.
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            shlex.split(command), check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as exc:
        raise UsageError(f"key_command: {type(exc).__name__} when running it") from exc
    if done.returncode != 0:
        raise UsageError(f"key_command: exit status {done.returncode}")
    return done.stdout

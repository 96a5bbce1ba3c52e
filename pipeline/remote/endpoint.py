"""Which service a run calls, with which key: the vendor's, another host's, or the embedded engine."""

import logging
import os
import shlex
import subprocess
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec
from yarl import URL

from pipeline.config import ApiConfig, Config, expand_home
from pipeline.errors import UsageError
from pipeline.service import VENDOR_URL, Service
from pipeline.wire import is_api_key

_ENGINE_TIMEOUT_S: Final = 300.0
"""Longer than the server's own deadlines for a page, in its queue and in a worker."""


_KEY_VARIABLES: Final = ("PAGEMILL_API_KEY", "LLMOCR_API_KEY")

logger = logging.getLogger("pagemill")


def choose_service(
    config: Config, environ: Mapping[str, str], *, local: bool = False, prefer_key_file: bool = False
) -> Service:
    """Return which service a run calls: the embedded engine when there is neither a key nor a URL.

    Raises:
        UsageError: the URL is no base URL, or `--local` and a URL contradict each other.
    """
    if local and config.api.url is not None:
        raise UsageError("--local and an API URL contradict each other")
    key = None if local else read_key(config.api, environ, prefer_file=prefer_key_file)
    if local or (key is None and config.api.url is None):
        return Service("", None, "embedded")
    base_url = check_base_url(config.api.url or VENDOR_URL)
    parts = urlsplit(base_url)
    is_vendor = parts.hostname == urlsplit(VENDOR_URL).hostname
    if key is not None and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        logger.warning("the API key will cross the network in clear text: %s is not https", parts.hostname)
    return Service(base_url, key, "vendor" if is_vendor else parts.hostname or "")


def fit_to_engine(config: Config) -> Config:
    """Return settings for the embedded engine, which reads one page per core, and a dense page for many seconds.

    More pages in flight would only time out in its queue.
    """
    jobs = min(config.run.jobs, (os.cpu_count() or 1) + 1)
    timeout_s = max(config.api.timeout_s, _ENGINE_TIMEOUT_S)
    api = msgspec.structs.replace(config.api, timeout_s=timeout_s, read_timeout_s=timeout_s)
    return msgspec.structs.replace(config, run=msgspec.structs.replace(config.run, jobs=jobs), api=api)


def read_key(api: ApiConfig, environ: Mapping[str, str], *, prefer_file: bool = False) -> str | None:
    """Return the API key from the environment, `key_file` or `key_command`; None when none is configured.

    Args:
        api: The `[api]` section.
        environ: The environment.
        prefer_file: True when `key_file` was given for this run, so that it precedes the environment.

    Raises:
        UsageError: the file cannot be read, the command fails, or the result is not a key.
    """
    names = () if prefer_file and api.key_file is not None else _KEY_VARIABLES
    key = next((environ[name] for name in names if environ.get(name)), None)
    origin = "the environment"
    if key is None and api.key_file is not None:
        origin = str(api.key_file)
        try:
            key = expand_home(api.key_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"{origin}: cannot read the API key: {getattr(exc, 'strerror', exc)}") from exc
    elif key is None and api.key_command is not None:
        origin = "key_command"
        key = _run_key_command(api.key_command)
    if key is None:
        return None
    key = key.strip()
    if not is_api_key(key):
        raise UsageError(f"{origin}: not an API key (empty, or with spaces or control characters in it)")
    return key


def _run_key_command(command: str) -> str:
    try:
        # pagemill's own stdin may be the list of pages.
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            shlex.split(command), check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as exc:
        raise UsageError(f"key_command: {type(exc).__name__} when running it") from exc
    if done.returncode != 0:
        raise UsageError(f"key_command: exit status {done.returncode}")
    return done.stdout


def check_base_url(base_url: str) -> str:
    """Return the URL without its trailing slash if it can be the base of a service.

    Raises:
        UsageError: the URL is not http(s), has no host, or has a query, a fragment, a user or a password.
    """
    try:
        url = URL(base_url)
        valid = url.scheme in {"http", "https"} and bool((url.raw_host or "").encode("idna"))
    except ValueError:
        valid = False
    if not valid or url.query_string or url.fragment or url.user or url.password:
        raise UsageError("api url: not a base URL such as https://llmocr.com (no query, no password)")
    return base_url.rstrip("/")

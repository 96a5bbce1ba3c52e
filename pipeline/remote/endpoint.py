"""Which service a run calls: the vendor's, another one, or the engine embedded in this machine."""

import logging
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.records import VENDOR_URL, Service
from pipeline.remote.client import check_base_url
from pipeline.remote.credentials import read_key

_ENGINE_TIMEOUT_S: Final = 300.0
"""Above the server's own deadlines for a page, in its queue and in a worker."""

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


def suit_engine(config: Config) -> Config:
    """Return settings for the embedded engine, which reads a page a core at a time, and a dense one for many seconds.

    More pages under way would only wait in its queue until their calls time out.
    """
    jobs = min(config.run.jobs, (os.cpu_count() or 1) + 1)
    timeout_s = max(config.api.timeout_s, _ENGINE_TIMEOUT_S)
    api = msgspec.structs.replace(config.api, timeout_s=timeout_s, read_timeout_s=timeout_s)
    return msgspec.structs.replace(config, run=msgspec.structs.replace(config.run, jobs=jobs), api=api)

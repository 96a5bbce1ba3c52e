"""Why a call brought no reply: aiohttp's errors, translated by their class and cause.

Their texts contain the request's URL, with the key in it, and a proxy's URL, with its password: neither is ever shown.
"""

import asyncio
import errno
import os
import re
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.remote.outcome import Fault, Outcome
from pipeline.remote.proxies import Proxy
from pipeline.storage.files import has_descriptors, no_descriptors

CALL_ERRORS: Final = (
    aiohttp.ClientError,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
    asyncio.IncompleteReadError,
    HttpProcessingError,
)
"""What aiohttp raises when a call fails."""

_CERTIFICATE_CAUSES: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet: check this machine's clock",
    10: "its certificate has expired",
    18: "its certificate is self-signed",
    19: "a certificate in its chain is self-signed and not known here",
    20: "its certificate is of an unknown authority",
    21: "its certificate is of an unknown authority",
    23: "its certificate was revoked",
    62: "its certificate is for another host",
    64: "its certificate is for another host",
}
"""Causes by OpenSSL's verification code. Source: openssl-verification-options(1), X509_V_ERR_…."""

_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
_PLAIN_REASONS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""OpenSSL's reasons when the first bytes are no TLS record, such as the text of an HTTP error."""

_LATE_HANDSHAKE_ALERT: Final = re.compile("ALERT_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")
"""In TLS 1.3 a server rejects the client's certificate when the request is sent already; it never reads that."""


def fault_outcome(exc: Exception, *, begun: bool, is_tls: bool, proxy: Proxy | None, ca_file: str | None) -> Outcome:
    """Return the outcome of a call that raised.

    Args:
        exc: One of CALL_ERRORS.
        begun: The first byte of the body was given to a connection; before that (connection refused, DNS, TLS,
            proxy, connect timeout) the call cannot have been billed.
        is_tls: The service is called with https.
        proxy: The proxy of the call; None when there is none.
        ca_file: The value of SSL_CERT_FILE; None when it is not set.
    """
    if isinstance(exc, aiohttp.ClientHttpProxyError) and exc.status == 407:
        return Outcome(407, detail=f"the proxy {_name(proxy)} wants user and password")
    if not begun and _lacks_descriptor(exc):
        return Outcome(fault=Fault.NO_DESCRIPTOR, detail=str(no_descriptors()))
    if not begun:
        was_refused = isinstance(exc, aiohttp.ClientConnectorError) and exc.os_error.errno == errno.ECONNREFUSED
        detail = _describe_unreached(exc, proxy, ca_file, is_tls=is_tls)
        return Outcome(fault=Fault.NOT_SENT, detail=detail, was_refused=was_refused and proxy is None)
    cause = exc.__cause__ or exc
    if isinstance(cause, ssl.SSLError) and _LATE_HANDSHAKE_ALERT.search(cause.reason or ""):
        return Outcome(fault=Fault.NOT_SENT, detail=f"TLS failed: {_describe_ssl(cause)}")
    if isinstance(exc, TimeoutError):
        return Outcome(fault=Fault.LOST, detail="timeout while waiting for the reply")
    return Outcome(fault=Fault.LOST, detail=f"connection lost ({type(exc).__name__})")


def _lacks_descriptor(exc: Exception) -> bool:
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return not has_descriptors()
    return isinstance(exc, OSError) and exc.errno in {errno.EMFILE, errno.ENFILE}


def _describe_unreached(exc: Exception, proxy: Proxy | None, ca_file: str | None, *, is_tls: bool) -> str:
    """Return why the request was not sent: the proxy, TLS, or the way to the service."""
    if proxy is not None and (cause := _describe_proxy_fault(exc, proxy.name)) is not None:
        return cause
    through = "" if proxy is None else f" through the proxy {proxy.name}"
    if is_tls and (cause := _describe_tls_fault(exc, ca_file)) is not None:
        return f"TLS failed{through}: {cause}"
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientConnectorError():
            return f"cannot connect{through} ({_strerror(exc.os_error)})"
        case TimeoutError():
            return f"timeout while connecting{through}"
        case _:
            return f"connection lost before the request was sent{through} ({type(exc).__name__})"


def _describe_proxy_fault(exc: Exception, name: str) -> str | None:
    match exc:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy {name} does not connect to the service (HTTP {exc.status})"
        case aiohttp.ClientProxyConnectionError():
            return f"cannot connect to the proxy {name} ({_strerror(exc.os_error)})"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name of the proxy {name} does not resolve"
        case aiohttp.ClientResponseError() | aiohttp.ServerDisconnectedError():
            return f"the proxy {name} does not answer in HTTP"
        case _:
            return None


def _describe_tls_fault(exc: Exception, ca_file: str | None) -> str | None:
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return _describe_certificate(exc.certificate_error, ca_file)
        case aiohttp.ClientConnectorSSLError():
            return _describe_ssl(exc.os_error)
        case aiohttp.ClientConnectorDNSError():
            return None
        case aiohttp.ClientConnectorError() if _is_reset(exc.os_error):
            return "the connection was closed during the handshake"
        case _:
            return None


def _describe_certificate(exc: Exception, ca_file: str | None) -> str:
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return "its certificate is not valid"
    cause = _CERTIFICATE_CAUSES.get(exc.verify_code, f"its certificate is not valid ({exc.verify_message})")
    if exc.verify_code in _UNKNOWN_AUTHORITY:
        cause += f"; SSL_CERT_FILE names {ca_file}" if ca_file else "; SSL_CERT_FILE can name the authorities to trust"
    return cause


def _describe_ssl(exc: Exception) -> str:
    reason = getattr(exc, "reason", None) or "no reason given"
    if reason in _PLAIN_REASONS:
        return "the port answers in plain HTTP: begin --api-url with http://, or name the TLS port"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the service demands a client certificate"
    return f"the handshake failed ({reason.replace('_', ' ').lower()})"


def _is_reset(exc: OSError) -> bool:
    return exc.errno is None or exc.errno in {errno.ECONNRESET, errno.EPIPE}


def _strerror(exc: OSError) -> str:
    """Return the description of the error's number; asyncio's own text would hide it."""
    return os.strerror(exc.errno) if exc.errno is not None and exc.errno > 0 else exc.strerror or "refused"


def _name(proxy: Proxy | None) -> str:
    return "?" if proxy is None else proxy.name

"""Real certificates, made by openssl: an authority, and servers whose certificates are right or wrong in one way."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.raw_server import RawServer

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority.

    Attributes:
        directory: Holds its certificate, key, and those that it has signed.
    """

    directory: Path

    @property
    def certificate(self) -> Path:
        """Its own certificate, for SSL_CERT_FILE."""
        return self.directory / "ca.pem"

    def sign(self, name: str, *, host: str = "IP:127.0.0.1,DNS:localhost", days: str = "2") -> Path:
        """Return a certificate for a host, in a file with its key.

        Args:
            name: Of the file.
            host: The subject's alternative names.
            days: Validity from now; below zero it has expired.
        """
        pem, request, extensions = (self.directory / f"{name}.{suffix}" for suffix in ("pem", "csr", "ext"))
        extensions.write_text(f"subjectAltName={host}\n")
        _openssl("req", *_KEY, "-keyout", pem.with_suffix(".key"), "-out", request, "-subj", "/CN=server")
        authority = ("-CA", self.certificate, "-CAkey", self.directory / "ca.key", "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *authority, "-days", days, "-extfile", extensions, "-out", pem)
        return _with_key(pem)

    def sign_itself(self, name: str) -> Path:
        """Return a certificate that no authority has signed."""
        pem = self.directory / f"{name}.pem"
        subject = ("-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1")
        _openssl("req", "-x509", *_KEY, "-days", "2", "-keyout", pem.with_suffix(".key"), "-out", pem, *subject)
        return _with_key(pem)


def make_authority(directory: Path) -> Authority:
    """Return a new authority."""
    names = ("-keyout", directory / "ca.key", "-out", directory / "ca.pem", "-subj", "/CN=authority")
    _openssl("req", "-x509", *_KEY, "-days", "2", *names)
    return Authority(directory)


@asynccontextmanager
async def serve_tls(
    server: RawServer, certificate: Path, *, clients: Path | None = None, newest: ssl.TLSVersion | None = None
) -> AsyncGenerator[str]:
    """Serve with a certificate; yield the base URL.

    Args:
        server: Answers.
        certificate: A file with certificate and key.
        clients: The authority of the certificates that clients must have; None demands none.
        newest: The newest version of TLS that it speaks.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    if newest is not None:
        context.maximum_version = newest
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context) as listener:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def _with_key(pem: Path) -> Path:
    pem.write_bytes(pem.read_bytes() + pem.with_suffix(".key").read_bytes())
    return pem


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

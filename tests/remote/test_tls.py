"""TLS failures: each is told apart, is not billed, and ends a run as temporary, against real certificates."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest

from pipeline.remote.outcome import Fault, Hint, Outcome
from pipeline.wire import build_image_body
from tests.clients import connect
from tests.faults.accounts import count_used
from tests.faults.breakage import constant
from tests.faults.raw_server import Behaviour, send_and, serve_raw
from tests.pages import write_pages
from tests.remote.certificates import Authority, make_authority, serve_tls
from tests.runs import KEY, run_arguments, run_command

BODY = build_image_body(b"an image", "image/png", "a.png")
RESETS = Behaviour("reset", send_and("reset", constant(b"")))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with one certificate of each kind."""
    made = make_authority(tmp_path_factory.mktemp("certificates"))
    made.sign("good")
    made.sign("expired", days="-1")
    made.sign("other-host", host="DNS:other.example")
    made.sign_itself("self-signed")
    return made


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def post(url: str, authority: Authority | None, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Make one call that trusts this authority only; None trusts none."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate) if authority is not None else "/dev/null")
    async with connect(url) as client, asyncio.timeout(20):
        outcome = await client.post(BODY)
    assert KEY not in repr(outcome)
    return outcome


async def test_a_certificate_of_the_authority_in_ssl_cert_file_is_accepted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_raw() as server, serve_tls(server, authority.directory / "good.pem") as url:
        assert (await post(url, authority, monkeypatch)).reply is not None


@pytest.mark.parametrize(
    ("certificate", "knows_authority", "cause"),
    [
        pytest.param(
            "good", False, "its certificate is of an unknown authority; SSL_CERT_FILE", id="unknown-authority"
        ),
        pytest.param("self-signed", True, "its certificate is self-signed; SSL_CERT_FILE", id="self-signed"),
        pytest.param("expired", True, "its certificate has expired", id="expired"),
        pytest.param("other-host", True, "its certificate is for another host", id="other-host"),
    ],
)
async def test_a_wrong_certificate_is_named_by_its_cause(
    certificate: str, cause: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, *, knows_authority: bool
) -> None:
    """The key is not sent to the server."""
    async with serve_raw() as server, serve_tls(server, authority.directory / f"{certificate}.pem") as url:
        outcome = await post(url, authority if knows_authority else None, monkeypatch)
    assert outcome.fault is Fault.NOT_SENT
    assert outcome.detail.startswith(f"TLS failed: {cause}")
    assert "\n" not in outcome.detail
    assert server.exchanges == []


async def test_a_demand_for_a_client_certificate_is_not_billed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS 1.2 fails in the handshake."""
    good = authority.directory / "good.pem"
    async with (
        serve_raw() as server,
        serve_tls(server, good, clients=authority.certificate, newest=ssl.TLSVersion.TLSv1_2) as url,
    ):
        outcome = await post(url, authority, monkeypatch)
    assert outcome.fault is Fault.NOT_SENT
    assert outcome.detail.startswith("TLS failed: ")
    assert server.exchanges == []


async def _answer_in_plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.close()


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.transport.abort()


async def _alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the TLS alert "handshake failure"."""
    await reader.read(100)
    writer.write(b"\x15\x03\x03\x00\x02\x02\x28")
    await writer.drain()
    writer.close()


@asynccontextmanager
async def serve(answer: Answer) -> AsyncGenerator[int]:
    """Serve connections on a free loopback port; yield it."""
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param(_answer_in_plain_http, "the port answers in plain HTTP", id="plain-http"),
        pytest.param(_close, "the connection was closed during the handshake", id="closed"),
        pytest.param(_reset, "the connection was closed during the handshake", id="reset"),
        pytest.param(_alert, "the handshake failed (", id="handshake"),
    ],
)
async def test_a_handshake_that_fails_is_named_by_its_cause(
    answer: Answer, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(answer) as port:
        outcome = await post(f"https://127.0.0.1:{port}", None, monkeypatch)
    assert outcome.fault is Fault.NOT_SENT
    assert outcome.detail.startswith(f"TLS failed: {cause}")


async def test_a_demand_for_a_client_certificate_after_the_request_was_sent_is_not_billed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS 1.3: the client's part of the handshake is over when the server has read its certificate."""
    port = free_port()
    options = ("-Verify", "1", "-verify_return_error", "-CAfile", str(authority.certificate), "-tls1_3", "-quiet")
    good = str(authority.directory / "good.pem")
    server = await asyncio.create_subprocess_exec(
        *("openssl", "s_server", "-accept", str(port), "-cert", good, "-key", good, *options), stderr=DEVNULL
    )
    try:
        outcome = Outcome(fault=Fault.NOT_SENT, was_refused=True)
        while outcome.was_refused:
            await asyncio.sleep(0.05)
            outcome = await post(f"https://127.0.0.1:{port}", authority, monkeypatch)
    finally:
        server.kill()
        await server.wait()
    assert outcome == Outcome(fault=Fault.NOT_SENT, detail="TLS failed: the service demands a client certificate")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


class TestPlainHttpOnATlsPort:
    async def test_it_is_recognised_although_the_port_gives_no_answer(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As of servers on OpenSSL; the handshake that tells sends no request."""
        async with serve_raw() as server, serve_tls(server, authority.directory / "good.pem") as url:
            outcome = await post(url.replace("https:", "http:"), None, monkeypatch)
        assert (outcome.status, outcome.hint) == (400, Hint.TLS_PORT)
        assert server.exchanges == []

    async def test_a_lost_reply_of_a_service_that_has_answered_in_http_is_lost(self) -> None:
        """Negative control: nothing is tested then."""
        async with serve_raw() as server, connect(server.url) as client:
            assert (await client.post(BODY)).reply is not None
            server.choose = lambda _: RESETS
            assert (await client.post(BODY)).fault is Fault.LOST
        assert server.connections == 1


@pytest.mark.parametrize(
    ("scheme", "ending"),
    [
        pytest.param("https", (5, "TLS failed: its certificate is of an unknown authority"), id="unknown-authority"),
        pytest.param("http", (7, "the port speaks TLS"), id="plain-http-on-a-tls-port"),
    ],
)
async def test_a_run_says_in_one_line_why_and_counts_no_call(
    scheme: str, ending: tuple[int, str], authority: Authority, scans: Path, tmp_path: Path
) -> None:
    exit_code, cause = ending
    write_pages(scans, 2)
    async with serve_raw() as server, serve_tls(server, authority.directory / "good.pem") as url:
        ran = await run_command(*run_arguments(scans, tmp_path, url.replace("https", scheme)))
    assert ran.returncode == exit_code, ran.stderr
    assert [line for line in ran.stderr.decode().splitlines() if cause in line]
    assert (count_used(tmp_path / "ledger"), server.exchanges) == (0, [])

"""Proxies: which one a call goes through, and whole runs through a real one."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.batch.job import Job, resolve_job
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.remote.proxies import choose_proxy, is_bypassed
from pipeline.service import Service
from tests.clients import closed_port
from tests.faults.accounts import count_used
from tests.faults.raw_server import serve_raw
from tests.pages import write_pages
from tests.remote.certificates import make_authority, serve_tls
from tests.remote.http_proxy import HttpProxy, serve_proxy
from tests.runs import KEY, results, run_arguments, run_command

PROXY = "http://proxy.example:3128"
LOGIN = "agnes:s3cret-pass"


class TestChoice:
    @pytest.mark.parametrize(
        ("base_url", "environ", "url"),
        [
            pytest.param("https://llmocr.com", {"HTTPS_PROXY": PROXY}, PROXY, id="https"),
            pytest.param("https://llmocr.com", {"https_proxy": PROXY}, PROXY, id="https-in-lower-case"),
            pytest.param("http://llmocr.com", {"HTTP_PROXY": PROXY}, PROXY, id="http"),
            pytest.param("http://llmocr.com", {"HTTPS_PROXY": PROXY}, None, id="of-the-other-scheme"),
            pytest.param("https://llmocr.com", {"HTTP_PROXY": PROXY}, None, id="of-the-other-scheme-too"),
            pytest.param(
                "https://llmocr.com",
                {"https_proxy": PROXY, "HTTPS_PROXY": "http://other"},
                PROXY,
                id="lower-case-first",
            ),
            pytest.param("https://llmocr.com", {"HTTPS_PROXY": "proxy.example:3128"}, PROXY, id="without-a-scheme"),
            pytest.param("https://llmocr.com", {"HTTPS_PROXY": ""}, None, id="empty"),
            pytest.param("https://llmocr.com", {"HTTPS_PROXY": PROXY, "NO_PROXY": "llmocr.com"}, None, id="exempt"),
            pytest.param("https://llmocr.com", {"HTTPS_PROXY": PROXY, "no_proxy": "*"}, None, id="all-exempt"),
            pytest.param("https://llmocr.com", {}, None, id="none"),
        ],
    )
    def test_the_environment_names_the_proxy(self, base_url: str, environ: dict[str, str], url: str | None) -> None:
        proxy = choose_proxy(base_url, None, environ)
        assert (None if proxy is None else proxy.url) == url

    @pytest.mark.parametrize("setting", ["none", "NONE", ""])
    def test_the_setting_none_overrides_the_environment(self, setting: str) -> None:
        assert choose_proxy("https://llmocr.com", setting, {"HTTPS_PROXY": PROXY}) is None

    def test_the_setting_precedes_the_environment_and_knows_no_exemption(self) -> None:
        environ = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "*"}
        proxy = choose_proxy("https://llmocr.com", PROXY, environ)
        assert proxy is not None
        assert (proxy.url, proxy.name, proxy.origin) == (PROXY, "proxy.example:3128", "proxy")

    @pytest.mark.parametrize(
        "url", ["socks5://u:s3cret@proxy:1080", "http://", "ftp://u:s3cret@proxy", "http://u:s3cret@proxy:99999", "a b"]
    )
    def test_a_wrong_url_is_a_usage_error_that_does_not_quote_it(self, url: str) -> None:
        """A proxy that is silently left out would let calls pass where they must not."""
        with pytest.raises(UsageError, match="HTTPS_PROXY: not the URL of an HTTP proxy") as caught:
            choose_proxy("https://llmocr.com", None, {"HTTPS_PROXY": url})
        assert "s3cret" not in str(caught.value)

    def test_the_password_is_in_no_repr(self) -> None:
        proxy = choose_proxy("https://llmocr.com", f"http://{LOGIN}@proxy:1", {})
        assert proxy is not None
        assert "s3cret" not in f"{proxy!r} {proxy.name}"

    def test_the_embedded_engine_has_none(self) -> None:
        job = Job(inputs=(), workspace="out", service=Service("", None, "embedded"), config=Config())
        assert resolve_job(job, {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}).proxy is None

    @pytest.mark.parametrize(
        ("url", "no_proxy", "expected"),
        [
            ("https://llmocr.com", "llmocr.com", True),
            ("https://llmocr.com", ".llmocr.com", True),
            ("https://api.llmocr.com", "llmocr.com", True),
            ("https://api.llmocr.com", ".llmocr.com", True),
            ("https://api.llmocr.com", "*.llmocr.com", True),
            ("https://LLMOCR.com", "llmocr.COM", True),
            ("https://llmocr.com.", "llmocr.com", True),
            ("https://notllmocr.com", "llmocr.com", False),
            ("https://llmocr.com", "com.", True),
            ("https://llmocr.com", "example.org, llmocr.com", True),
            ("https://llmocr.com", "example.org llmocr.com", True),
            ("https://llmocr.com", "", False),
            ("https://llmocr.com", ",", False),
            ("https://llmocr.com", "*", True),
            ("https://llmocr.com", "llmocr.com:443", True),
            ("https://llmocr.com", "llmocr.com:8443", False),
            ("https://llmocr.com:8443", "llmocr.com:8443", True),
            ("http://10.1.2.3", "10.0.0.0/8", True),
            ("http://10.1.2.3", "10.1.2.3", True),
            ("http://10.1.2.3:8080", "10.1.2.3:8080", True),
            ("http://11.1.2.3", "10.0.0.0/8", False),
            ("http://10.1.2.3", "10.1.2.9/8", True),
            ("http://[::1]:8080", "::1", True),
            ("http://[::1]:8080", "[::1]:8080", True),
            ("http://[fd00::5]", "fd00::/8", True),
            ("http://127.0.0.1:8080", "localhost", False),
            ("http://localhost:8080", "localhost,127.0.0.1", True),
            ("http://llmocr.com", "10.0.0.0/8", False),
            ("http://llmocr.com", "0.0.0.0/0", False),
            ("http://10.1.2.3", "10.0.0.0/99", False),
        ],
    )
    def test_no_proxy_exempts_hosts_subdomains_ports_and_networks(
        self, url: str, no_proxy: str, *, expected: bool
    ) -> None:
        assert is_bypassed(urlsplit(url), no_proxy) is expected


class TestRuns:
    """The real command through a real proxy."""

    async def test_a_plain_call_goes_through_http_proxy(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 3)
        async with serve_raw() as server, serve_proxy() as proxy:
            ran = await run_command(*run_arguments(scans, tmp_path, server.url), HTTP_PROXY=proxy.url)
        assert ran.returncode == 0, ran.stderr
        assert len(results(tmp_path / "out")) == len(server.exchanges) == 3
        assert proxy.heads[0].startswith(f"POST {server.url}/api/text-recognition?key=".encode())
        assert f"calls go through the proxy {proxy.url.removeprefix('http://')} (HTTP_PROXY)" in ran.stderr.decode()

    @pytest.mark.parametrize(
        ("exemption", "arguments"),
        [
            pytest.param({"NO_PROXY": "127.0.0.0/8"}, (), id="no-proxy"),
            pytest.param({}, ("--proxy", "none"), id="setting-none"),
        ],
    )
    async def test_an_exempt_call_goes_directly(
        self, scans: Path, tmp_path: Path, exemption: dict[str, str], arguments: tuple[str, ...]
    ) -> None:
        write_pages(scans, 1)
        async with serve_raw() as server, serve_proxy() as proxy:
            command = run_arguments(scans, tmp_path, server.url, *arguments)
            ran = await run_command(*command, HTTP_PROXY=proxy.url, **exemption)
        assert (ran.returncode, proxy.heads) == (0, [])

    async def test_a_tls_call_is_tunnelled_and_its_certificate_checked_by_ssl_cert_file(
        self, scans: Path, tmp_path: Path
    ) -> None:
        """The proxy sees neither key nor page; its password is in no output and no file."""
        write_pages(scans, 3)
        authority = make_authority(tmp_path)
        proxy_for = HttpProxy(login=LOGIN)
        async with (
            serve_raw() as server,
            serve_tls(server, authority.sign("server")) as url,
            serve_proxy(proxy_for) as proxy,
        ):
            ran = await run_command(
                *run_arguments(scans, tmp_path, url, "-v", "--json"),
                https_proxy=proxy.url_with_login,
                SSL_CERT_FILE=str(authority.certificate),
            )
        assert ran.returncode == 0, ran.stderr
        assert len(results(tmp_path / "out")) == 3
        assert all(head.startswith(b"CONNECT 127.0.0.1:") for head in proxy.heads)
        assert KEY.encode() not in b"".join(proxy.heads)
        written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert b"s3cret" not in b"".join([ran.stdout, ran.stderr, *written])

    async def test_the_password_of_the_setting_is_not_in_run_json(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 1)
        async with serve_raw() as server, serve_proxy(HttpProxy(login=LOGIN)) as proxy:
            ran = await run_command(
                *run_arguments(scans, tmp_path, server.url), PAGEMILL_API_PROXY=proxy.url_with_login
            )
        assert ran.returncode == 0, ran.stderr
        assert b"s3cret" not in (tmp_path / "out" / "run.json").read_bytes() + ran.stderr

    @pytest.mark.parametrize(
        ("proxy_for", "exit_code", "cause"),
        [
            pytest.param(HttpProxy(login=LOGIN), 7, "demands a login", id="login"),
            pytest.param(
                HttpProxy(connect_status="502 Bad Gateway"), 5, "does not connect to the service (HTTP 502)", id="502"
            ),
            pytest.param(
                HttpProxy(connect_status="403 Forbidden"), 5, "does not connect to the service (HTTP 403)", id="403"
            ),
            pytest.param(HttpProxy(connect_status="garbage"), 5, "does not", id="garbage"),
        ],
    )
    async def test_a_tunnel_that_fails_costs_no_call_and_names_its_cause(
        self, scans: Path, tmp_path: Path, proxy_for: HttpProxy, exit_code: int, cause: str
    ) -> None:
        write_pages(scans, 2)
        wrong = "http://agnes:wr0ng@"
        async with serve_proxy(proxy_for) as proxy:
            url = proxy.url.replace("http://", wrong)
            arguments = run_arguments(scans, tmp_path, "https://service.example", "--proxy", url)
            ran = await run_command(*arguments)
        stderr = ran.stderr.decode()
        assert ran.returncode == exit_code, stderr
        assert cause in stderr
        assert f"the proxy {proxy.url.removeprefix('http://')}" in stderr or exit_code == 7
        assert "wr0ng" not in stderr
        assert count_used(tmp_path / "ledger", host="service.example") == 0

    async def test_a_plain_call_to_a_proxy_that_demands_a_login_stops_the_run(
        self, scans: Path, tmp_path: Path
    ) -> None:
        write_pages(scans, 2)
        async with serve_raw() as server, serve_proxy(HttpProxy(login=LOGIN)) as proxy:
            ran = await run_command(*run_arguments(scans, tmp_path, server.url), HTTP_PROXY=proxy.url)
        assert (ran.returncode, server.exchanges) == (7, [])
        assert b"the proxy demands a login" in ran.stderr
        assert count_used(tmp_path / "ledger") == 0

    async def test_a_proxy_that_is_not_there_is_temporary(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 2)
        with closed_port() as closed:
            ran = await run_command(
                *run_arguments(scans, tmp_path, "https://service.example"),
                HTTPS_PROXY=closed.replace("http://", f"http://{LOGIN}@"),
            )
        stderr = ran.stderr.decode()
        assert ran.returncode == 5
        assert f"cannot connect to the proxy {closed.removeprefix('http://')} (Connection refused)" in stderr
        assert "s3cret" not in stderr

    async def test_a_proxy_url_that_is_none_is_a_usage_error(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 1)
        arguments = run_arguments(scans, tmp_path, "https://service.example")
        ran = await run_command(*arguments, HTTPS_PROXY="socks5://u:s3cret@proxy:1080")
        assert ran.returncode == 2
        assert b"https_proxy" in ran.stderr.lower()
        assert b"s3cret" not in ran.stderr

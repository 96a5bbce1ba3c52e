"""Authentication, quotas and rate limits, over real connections."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.recognition import BusyError, RecognitionError
from pipeline.errors import TruncatedImageError
from pipeline.server.access import callers
from pipeline.server.access.authentication import RateLimit, retry_after_s
from pipeline.server.access.callers import WorkTimer
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import NO_VALID_KEY, KeyStore, way_back
from pipeline.wire import TEXT_RECOGNITION_PATH, parse_status_text
from tests.clocks import Clock
from tests.server.attackers import connected, request_head
from tests.server.keyed import JSON, keyed_server, make_key, revoke, session_of, used
from tests.server.serving import Response, ScriptedRecogniser, port_of

UNAUTHORIZED = "Unauthorized: invalid or missing API key"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the key store."""
    return tmp_path / "keys.sqlite3"


def statuses(responses: list[Response]) -> dict[int, int]:
    """Return the number of responses by status."""
    found = [response.status for response in responses]
    return {status: found.count(status) for status in sorted(set(found))}


async def test_of_200_calls_at_once_the_last_call_of_the_month_goes_to_one(path: Path) -> None:
    secret, key = make_key(path, quota=3)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as client:
        assert statuses([await client.recognise(secret) for _ in range(2)]) == {200: 2}
        responses = await asyncio.gather(*(client.recognise(secret) for _ in range(200)))
    assert statuses(responses) == {200: 1, 403: 199}
    assert len(recogniser.seen) == used(path, key) == 3
    rejected = next(response for response in responses if response.status == 403)
    assert parse_status_text(rejected.body) == (
        "Insufficient quota: all 3 calls of 2026-11 are used; they reset at 2026-12-01T00:00:00Z"
    )


async def test_a_quota_check_apart_from_the_count_lets_more_calls_through(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""

    async def take_call(keyring: Keyring, key_id: str, month: str) -> bool:
        key = await keyring.find_by_id(key_id)
        if key is None or key.limit is None or await keyring.used(key_id, month) >= key.limit:
            return False
        await keyring._write(lambda store: _count(store, key_id, month))
        return True

    monkeypatch.setattr(Keyring, "take_call", take_call)
    secret, key = make_key(path, quota=1)
    async with keyed_server(path) as client:
        responses = await asyncio.gather(*(client.recognise(secret) for _ in range(200)))
    assert statuses(responses)[200] > 1
    assert used(path, key) > 1


async def test_two_servers_that_share_the_store_share_the_quota(path: Path) -> None:
    secret, key = make_key(path, quota=1)
    async with keyed_server(path) as one, keyed_server(path) as other:
        responses = await asyncio.gather(*((one, other)[number % 2].recognise(secret) for number in range(100)))
    assert statuses(responses) == {200: 1, 403: 99}
    assert used(path, key) == 1


async def test_the_count_survives_a_restart_and_the_next_month_starts_at_zero(path: Path) -> None:
    """Months are those of UTC."""
    secret, _ = make_key(path, quota=1)
    clock = Clock()
    async with keyed_server(path, clock=clock) as client:
        assert (await client.recognise(secret)).status == 200
    async with keyed_server(path, clock=clock) as client:
        assert (await client.recognise(secret)).status == 403
        clock.now = datetime(2026, 12, 1, tzinfo=UTC)
        assert (await client.recognise(secret)).status == 200
        assert (await client.recognise(secret)).status == 403


async def test_a_call_is_counted_before_the_recognition_begins(path: Path) -> None:
    """A crash during the recognition must not make the call free."""
    secret, key = make_key(path)
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with keyed_server(path, recogniser) as client:
        call = asyncio.create_task(client.recognise(secret))
        await recogniser.began.wait()
        assert used(path, key) == 1
        recogniser.may_answer.set()
        assert (await call).status == 200
    assert used(path, key) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(TruncatedImageError("the image is truncated"), 400, id="the-page-s-fault"),
        pytest.param(RecognitionError("worker 17 died"), 500, id="the-engine-s-fault"),
    ],
)
async def test_a_failed_call_is_refunded_in_its_own_month(path: Path, error: Exception, status: int) -> None:
    """The next month begins during the recognition."""
    secret, key = make_key(path)
    clock = Clock()
    recogniser = ScriptedRecogniser(error, asyncio.Event())
    async with keyed_server(path, recogniser, clock) as client:
        call = asyncio.create_task(client.recognise(secret))
        await recogniser.began.wait()
        clock.now = datetime(2026, 12, 1, tzinfo=UTC)
        recogniser.may_answer.set()
        assert (await call).status == status
    assert (used(path, key), used(path, key, "2026-12")) == (0, 0)


@pytest.mark.parametrize(
    ("error", "work_s", "counts"),
    [
        pytest.param(RecognitionError("a page took longer than 120 s"), 120.0, [1, 2, 3], id="the-page-s-limit"),
        pytest.param(TruncatedImageError("the image is truncated"), 20.0, [1, 2, 3], id="truncated-after-much-work"),
        pytest.param(TruncatedImageError("the image is truncated"), 0.4, [0, 0, 1], id="small-work-adds-up"),
        pytest.param(BusyError("no worker became free"), 120.0, [0, 0, 0], id="the-server-s-doing"),
    ],
)
async def test_a_failed_call_is_charged_for_the_work_that_it_caused(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, work_s: float, counts: list[int]
) -> None:
    """Otherwise a key without a paid call could keep a worker busy for ever."""
    secret, key = make_key(path)

    @contextmanager
    def measured(timer: WorkTimer) -> Iterator[None]:
        timer.elapsed_s += work_s
        yield

    monkeypatch.setattr(WorkTimer, "measured", measured)
    async with keyed_server(path, ScriptedRecogniser(error)) as client:
        for count in counts:
            await client.recognise(secret)
            assert used(path, key) == count


async def test_without_the_charge_for_work_a_page_that_fails_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr(callers, "CHARGED_WORK_S", float("inf"))
    secret, key = make_key(path)
    async with keyed_server(path, ScriptedRecogniser(RecognitionError("a page took longer than 120 s"))) as client:
        await client.recognise(secret)
    assert used(path, key) == 0


async def test_a_key_without_calls_is_refused_before_its_body(path: Path) -> None:
    secret, _ = make_key(path, quota=0)
    async with keyed_server(path) as client, connected(port_of(client.url)) as (reader, writer):
        writer.write(request_head(secret, 1_000_000))
        async with asyncio.timeout(20):
            assert b" 403 " in await reader.readline()


async def test_without_the_early_check_a_key_without_calls_sends_its_body(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""

    async def skip(_caller: callers.Caller) -> None:
        pass

    monkeypatch.setattr(callers.Caller, "check_quota", skip)
    secret, _ = make_key(path, quota=0)
    async with keyed_server(path) as client, connected(port_of(client.url)) as (reader, writer):
        writer.write(request_head(secret, 1_000_000))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.readline()


async def test_a_rejected_request_costs_no_call(path: Path) -> None:
    secret, key = make_key(path)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as client:
        assert (await client.recognise(secret, b"no image")).status == 400
        assert (await client.call("POST", f"{TEXT_RECOGNITION_PATH}?key={secret}", b"{", JSON)).status == 400
    assert (used(path, key), len(recogniser.seen)) == (0, 0)


async def test_a_caller_who_disconnects_has_used_the_call(path: Path) -> None:
    """Otherwise disconnecting before the response would bypass the quota."""
    secret, key = make_key(path)
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with keyed_server(path, recogniser) as client:
        call = asyncio.create_task(client.recognise(secret))
        await recogniser.began.wait()
        call.cancel()
        await recogniser.ended.wait()
    assert used(path, key) == 1


@pytest.mark.parametrize("guess", [None, "", "wrong", "pm_" + "A" * 43, "pm_" + "A" * 3000, "%ff", "k%00"])
async def test_without_a_valid_key_every_route_is_401_before_the_body_is_parsed(path: Path, guess: str | None) -> None:
    make_key(path)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as client:
        query = "" if guess is None else f"?key={guess}"
        response = await client.call("POST", TEXT_RECOGNITION_PATH + query, b"{", JSON)
        assert (response.status, parse_status_text(response.body)) == (401, UNAUTHORIZED)
        assert (await client.usage(guess)).status == 401
        assert (await client.sign_in(guess or "")).status == 401
    assert len(recogniser.seen) == 0


async def test_a_revoked_key_and_its_session_are_rejected_at_once(path: Path) -> None:
    """Another process revokes the key of a running server."""
    secret, key = make_key(path)
    other_secret, _ = make_key(path)
    async with keyed_server(path) as client:
        session = session_of(await client.sign_in(secret))
        assert (await client.recognise(secret)).status == (await client.recognise(headers=session)).status == 200
        revoke(path, key)
        assert (await client.recognise(secret)).status == (await client.recognise(headers=session)).status == 401
        assert (await client.sign_in(secret)).status == 401
        assert (await client.recognise(other_secret)).status == 200


async def test_a_key_that_is_revoked_during_the_upload_starts_no_recognition(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = make_key(path)
    take_call = Keyring.take_call

    async def revoke_and_take(keyring: Keyring, key_id: str, month: str) -> bool:
        revoke(path, key)
        return await take_call(keyring, key_id, month)

    monkeypatch.setattr(Keyring, "take_call", revoke_and_take)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as client:
        response = await client.recognise(secret)
    assert (response.status, len(recogniser.seen)) == (401, 0)


async def test_a_key_over_its_rate_limit_gets_429_with_retry_after(path: Path) -> None:
    """Other keys are served, and the monthly count does not change."""
    secret, key = make_key(path)
    other_secret, _ = make_key(path)
    clock = Clock()
    async with keyed_server(path, clock=clock, rate_per_s=0.5) as client:
        assert (await client.recognise(secret)).status == 200
        rejected = await client.recognise(secret)
        assert (rejected.status, rejected.headers["Retry-After"]) == (429, "2")
        assert "quota" not in parse_status_text(rejected.body)
        assert (await client.recognise(other_secret)).status == 200
        clock.uptime_s += float(rejected.headers["Retry-After"])
        assert (await client.recognise(secret)).status == 200
    assert used(path, key) == 2


async def test_reading_the_usage_does_not_count_against_the_rate_limit(path: Path) -> None:
    secret, _ = make_key(path)
    async with keyed_server(path, rate_per_s=0.1) as client:
        assert [(await client.usage(secret)).status for _ in range(5)] == [200] * 5
        assert (await client.recognise(secret)).status == 200


async def test_the_operator_s_key_has_neither_quota_nor_rate_limit(path: Path) -> None:
    """It is valid beside the keys of the store."""
    secret, _ = make_key(path, quota=1)
    async with keyed_server(path, key="the operator's", rate_per_s=0.1) as client:
        assert statuses([await client.recognise("the operator's") for _ in range(5)]) == {200: 5}
        assert (await client.recognise(secret)).status == 200
        assert (await client.recognise()).status == 401
        session = session_of(await client.sign_in("the operator's"))
        assert (await client.recognise(headers=session)).status == 200
        assert (await client.usage("the operator's")).reply == {
            "tier": "ultra",
            "month": "2026-11",
            "used": 6,
            "quota": None,
            "resets": "2026-12-01T00:00:00Z",
            "session": False,
        }


async def test_a_server_is_open_until_its_first_key_is_made(path: Path) -> None:
    """Revoking the last key does not open it again."""
    async with keyed_server(path) as client:
        assert (await client.recognise()).status == (await client.recognise("anything")).status == 200
        signed_in = await client.sign_in("anything")
        assert signed_in.status == 204
        assert "Set-Cookie" not in signed_in.headers
        assert (await client.usage()).reply["used"] == 2
        secret, key = make_key(path)
        assert (await client.recognise()).status == (await client.recognise("anything")).status == 401
        assert (await client.recognise(secret)).status == 200
        revoke(path, key)
        assert (await client.recognise()).status == 401


async def test_a_server_without_keys_is_closed_unless_anonymous_callers_are_allowed(path: Path) -> None:
    async with keyed_server(path, allow_anonymous=False) as client:
        assert (await client.recognise()).status == (await client.recognise("anything")).status == 401


FORWARDED = [
    pytest.param({"X-Forwarded-For": "203.0.113.5"}, id="a-proxy-on-this-machine"),
    pytest.param({"X-Forwarded-For": "127.0.0.1"}, id="an-address-that-the-client-made-up"),
    pytest.param({"X-Forwarded-For": ""}, id="empty"),
    pytest.param({"X-FORWARDED-FOR": "203.0.113.5, 127.0.0.1"}, id="capitals"),
    pytest.param({"Forwarded": "for=203.0.113.5;host=localhost"}, id="rfc-7239"),
    pytest.param({"X-Real-IP": "203.0.113.5"}, id="nginx"),
    pytest.param({"X-Forwarded-Host": "example.org"}, id="apache"),
    pytest.param({"X-Forwarded-Proto": "https"}, id="tls-before-it"),
    pytest.param({"Via": "1.1 proxy"}, id="via"),
    pytest.param({"CF-Connecting-IP": "203.0.113.5"}, id="cloudflare-tunnel"),
    pytest.param({"X_Forwarded_For": "203.0.113.5"}, id="underscores"),
    pytest.param({"X-Azure-ClientIP": "203.0.113.5"}, id="azure"),
    pytest.param({"Ngrok-Trace-Id": "1"}, id="ngrok"),
    pytest.param({"Tailscale-User-Login": "anna@example.org"}, id="tailscale"),
    pytest.param({"X-Originating-IP": "127.0.0.1"}, id="originating-address"),
]


@pytest.mark.parametrize("headers", FORWARDED)
async def test_a_proxy_does_not_open_a_server_without_keys(path: Path, headers: dict[str, str]) -> None:
    """Many proxies send the address that they connect to as Host."""
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as client:
        for host in ("localhost", "127.0.0.1:8080", "[::1]"):
            sent = {**headers, "Host": host}
            assert (await client.recognise(headers=sent)).status == 403
            assert (await client.recognise("anything", headers=sent)).status == 403
            assert (await client.usage(headers=sent)).status == 403
            assert (await client.sign_in("anything", headers=sent)).status == 403
        assert len(recogniser.seen) == 0
        secret, _ = make_key(path)
        assert (await client.recognise(secret, headers=headers)).status == 200


async def test_a_request_from_another_address_does_not_open_a_server_without_keys(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the server listens on loopback, the system may forward connections to it."""
    monkeypatch.setattr(web.Request, "remote", "203.0.113.5")
    async with keyed_server(path) as client:
        assert (await client.recognise(headers={"Host": "localhost"})).status == 403


async def test_a_server_that_nobody_can_call_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In its health and, once, in its log."""
    secret, key = make_key(path)
    clock = Clock()
    async with keyed_server(path, clock=clock) as client:
        health = await client.call("GET", "/healthz")
        assert health.reply == {"status": "ok", "workers": 1, "queue": 0}
        revoke(path, key)
        clock.uptime_s += 2
        for _ in range(3):
            assert (await client.recognise(secret)).status == 401
            clock.uptime_s += 2
        health = await client.call("GET", "/healthz")
        assert (health.status, health.reply["detail"]) == (200, NO_VALID_KEY)
        assert "pagemill serve keys add" in health.reply["detail"]
        make_key(path)
        clock.uptime_s += 2
        assert "detail" not in (await client.call("GET", "/healthz")).reply
    assert caplog.text.count(f"{NO_VALID_KEY}; {way_back(path)}") == 1


async def test_a_server_with_an_operator_s_key_can_be_called_without_keys_in_the_store(path: Path) -> None:
    _, key = make_key(path)
    revoke(path, key)
    async with keyed_server(path, key="the operator's") as client:
        assert "detail" not in (await client.call("GET", "/healthz")).reply


async def test_a_server_whose_key_store_is_unreadable_says_so_in_its_health(path: Path) -> None:
    make_key(path)
    async with keyed_server(path) as client:
        assert (await client.usage("wrong")).status == 401
        path.unlink()
        path.write_text("no database")
    async with keyed_server(path) as client:
        health = await client.call("GET", "/healthz")
        assert (health.status, "key store" in health.reply["detail"]) == (200, True)


async def test_an_open_server_logs_that_the_first_key_closed_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with keyed_server(path) as client:
        assert (await client.recognise()).status == 200
        make_key(path)
        assert [(await client.recognise()).status for _ in range(2)] == [401, 401]
    message = f"a key was made: requests without a key are refused from now on; {way_back(path)}"
    assert caplog.text.count(message) == 1
    path.unlink()
    async with keyed_server(path) as client:  # the way back
        assert (await client.recognise()).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_s_page_cannot_use_an_open_server(path: Path, site: str) -> None:
    """The browser of a visitor can reach loopback."""
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as client:
        assert (await client.recognise(headers={"Sec-Fetch-Site": site})).status == 403
        assert (await client.recognise("anything", headers={"Origin": "http://evil.example"})).status == 403
    assert len(recogniser.seen) == 0


async def test_an_unreadable_store_rejects_every_request(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It fails closed, and the log has the reason."""
    secret, _ = make_key(path)
    async with keyed_server(path) as client:
        assert (await client.recognise(secret)).status == 200
        path.unlink()
        response = await client.recognise(secret)
        assert (response.status, response.reply) == (500, {"statusText": "Internal Server Error: processing failed"})
        assert (await client.recognise()).status == 500
    assert "KeyStoreError" in caplog.text


async def test_no_log_line_and_no_response_has_a_key(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, key = make_key(path, quota=1)
    async with keyed_server(path, rate_per_s=2.0) as client:
        responses = [await client.recognise(secret), await client.recognise(secret), await client.recognise(secret)]
        responses += [await client.usage(secret), await client.sign_in(secret), await client.recognise(secret + "x")]
    assert [response.status for response in responses] == [200, 403, 429, 200, 429, 401]
    assert responses[0].reply["payload"].endswith("?key=***")
    message = caplog.text.encode() + b"".join(response.body + repr(response.headers).encode() for response in responses)
    assert secret.encode() not in message
    assert key.id in caplog.text


def _count(store: KeyStore, key_id: str, month: str) -> None:
    store._db.execute(
        "INSERT INTO use VALUES (?, ?, 1) ON CONFLICT (key_id, month) DO UPDATE SET calls = calls + 1", (key_id, month)
    )


def test_a_burst_is_admitted_and_the_next_call_waits() -> None:
    limit = RateLimit(2.0, burst=3)
    assert [limit.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("a", 100.5) == 0
    assert limit.take("a", 100.5) == pytest.approx(0.5)


def test_a_rejected_call_takes_no_token() -> None:
    limit = RateLimit(1.0, burst=1)
    limit.take("a", 0.0)
    for _ in range(100):
        assert limit.take("a", 0.5) == pytest.approx(0.5)
    assert limit.take("a", 1.0) == 0


def test_keys_do_not_share_a_bucket() -> None:
    limit = RateLimit(1.0, burst=1)
    assert [limit.take(name, 0.0) for name in ("a", "b", "a")] == [0, 0, 1.0]


@pytest.mark.parametrize(("rate_per_s", "burst"), [(10.0, 10), (2.5, 3), (0.1, 1)])
def test_the_default_burst_is_the_calls_of_one_second_and_at_least_one(rate_per_s: float, burst: int) -> None:
    limit = RateLimit(rate_per_s)
    assert [limit.take("a", 0.0) == 0 for _ in range(burst + 1)] == [True] * burst + [False]


@given(
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_stretch_of_time_has_more_than_the_burst_and_its_share(
    rate_per_s: float, burst: int, gaps_s: list[float]
) -> None:
    """The definition of a token bucket; after the returned wait, a call is admitted."""
    limit = RateLimit(rate_per_s, burst)
    now_s, taken = 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        wait_s = limit.take("a", now_s)
        if wait_s == 0:
            taken.append(now_s)
        else:
            assert RateLimit.take(limit, "a", now_s + wait_s) == 0
            now_s += wait_s
            taken.append(now_s)
    for first, begin_s in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + rate_per_s * (taken[last] - begin_s)
            assert last - first + 1 <= allowed + 1e-6


def test_full_buckets_are_dropped() -> None:
    limit = RateLimit(10.0)
    for number in range(20_000):
        limit.take(f"key {number}", number * 1.0)
    assert repr(limit).endswith(" buckets>")
    assert int(repr(limit).split()[-2]) <= 1024


@pytest.mark.parametrize(("wait_s", "header"), [(0.01, 1), (1.0, 1), (1.01, 2), (59.5, 60)])
def test_retry_after_is_whole_seconds_rounded_up_and_at_least_one(wait_s: float, header: int) -> None:
    """RFC 9110, 10.2.3: a non-negative integer; 0 would mean at once."""
    assert retry_after_s(wait_s) == header

"""Who may call, and what it costs, over real connections."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.recognition import RecognitionError
from pipeline.errors import TruncatedImageError
from pipeline.server.access.access import BurstLimit, retry_after_s
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import KeyStore
from pipeline.wire import TEXT_RECOGNITION_PATH, parse_status_text
from tests.clocks import Clock
from tests.server.keyed import JSON, keyed_server, make_key, revoke, session_of, used
from tests.server.serving import Answer, ScriptedRecogniser

NOT_LET_IN = "Unauthorized: invalid or missing API key"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "keys.sqlite3"


def statuses(answers: list[Answer]) -> dict[int, int]:
    """Return how often each status came."""
    found = [answer.status for answer in answers]
    return {status: found.count(status) for status in sorted(set(found))}


async def test_of_200_calls_at_once_the_last_call_of_the_month_goes_to_one(path: Path) -> None:
    """All the others are told that the quota is used up, and cost nothing."""
    secret, key = make_key(path, quota=3)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as caller:
        assert statuses([await caller.recognise(secret) for _ in range(2)]) == {200: 2}
        answers = await asyncio.gather(*(caller.recognise(secret) for _ in range(200)))
    assert statuses(answers) == {200: 1, 403: 199}
    assert len(recogniser.seen) == used(path, key) == 3
    refused = next(answer for answer in answers if answer.status == 403)
    assert parse_status_text(refused.body) == (
        "Insufficient quota: all 3 calls of 2026-11 are used; they reset at 2026-12-01T00:00:00Z"
    )


async def test_a_count_that_is_not_atomic_lets_more_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above: ask first, count afterwards."""

    async def take(keyring: Keyring, key_id: str, month: str) -> bool:
        key = await keyring.find_id(key_id)
        if key is None or key.limit is None or await keyring.used(key_id, month) >= key.limit:
            return False
        await keyring._write(lambda store: _count(store, key_id, month))
        return True

    monkeypatch.setattr(Keyring, "take", take)
    secret, key = make_key(path, quota=1)
    async with keyed_server(path) as caller:
        answers = await asyncio.gather(*(caller.recognise(secret) for _ in range(200)))
    assert statuses(answers)[200] > 1
    assert used(path, key) > 1


async def test_two_servers_that_share_the_store_share_the_quota(path: Path) -> None:
    """The count is the file's, not the server's."""
    secret, key = make_key(path, quota=1)
    async with keyed_server(path) as one, keyed_server(path) as other:
        answers = await asyncio.gather(*((one, other)[number % 2].recognise(secret) for number in range(100)))
    assert statuses(answers) == {200: 1, 403: 99}
    assert used(path, key) == 1


async def test_the_quota_survives_a_restart_and_the_next_month_begins_anew(path: Path) -> None:
    """By the calendar of UTC."""
    secret, _ = make_key(path, quota=1)
    clock = Clock()
    async with keyed_server(path, clock=clock) as caller:
        assert (await caller.recognise(secret)).status == 200
    async with keyed_server(path, clock=clock) as caller:
        assert (await caller.recognise(secret)).status == 403
        clock.now = datetime(2026, 12, 1, tzinfo=UTC)
        assert (await caller.recognise(secret)).status == 200
        assert (await caller.recognise(secret)).status == 403


async def test_a_call_is_counted_before_the_recognition_begins(path: Path) -> None:
    """So that a crash in the middle cannot make it free."""
    secret, key = make_key(path)
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with keyed_server(path, recogniser) as caller:
        call = asyncio.create_task(caller.recognise(secret))
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
async def test_a_call_that_fails_is_given_back(path: Path, error: Exception, status: int) -> None:
    """Also when the month turned meanwhile: it goes back to the month that it was taken from."""
    secret, key = make_key(path)
    clock = Clock()
    recogniser = ScriptedRecogniser(error, asyncio.Event())
    async with keyed_server(path, recogniser, clock) as caller:
        call = asyncio.create_task(caller.recognise(secret))
        await recogniser.began.wait()
        clock.now = datetime(2026, 12, 1, tzinfo=UTC)
        recogniser.may_answer.set()
        assert (await call).status == status
    assert (used(path, key), used(path, key, "2026-12")) == (0, 0)


async def test_a_refused_request_costs_nothing(path: Path) -> None:
    """The body is judged before the quota."""
    secret, key = make_key(path)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as caller:
        assert (await caller.recognise(secret, b"no image")).status == 400
        assert (await caller.call("POST", f"{TEXT_RECOGNITION_PATH}?key={secret}", b"{", JSON)).status == 400
    assert (used(path, key), len(recogniser.seen)) == (0, 0)


async def test_a_caller_who_goes_away_has_spent_the_call(path: Path) -> None:
    """Or whoever hangs up before the answer would never reach the limit."""
    secret, key = make_key(path)
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with keyed_server(path, recogniser) as caller:
        call = asyncio.create_task(caller.recognise(secret))
        await recogniser.began.wait()
        call.cancel()
        await recogniser.ended.wait()
    assert used(path, key) == 1


@pytest.mark.parametrize("guess", [None, "", "wrong", "pm_" + "A" * 43, "pm_" + "A" * 3000, "%ff", "k%00"])
async def test_without_a_good_key_nobody_is_let_in(path: Path, guess: str | None) -> None:
    """401, before anything of the body is looked at; the guess is not repeated."""
    make_key(path)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as caller:
        query = "" if guess is None else f"?key={guess}"
        answer = await caller.call("POST", TEXT_RECOGNITION_PATH + query, b"{", JSON)
        assert (answer.status, parse_status_text(answer.body)) == (401, NOT_LET_IN)
        assert (await caller.usage(guess)).status == 401
        assert (await caller.sign_in(guess or "")).status == 401
    assert len(recogniser.seen) == 0


async def test_a_revoked_key_is_refused_at_once(path: Path) -> None:
    """By a running server, when another process revokes it; its session ends with it."""
    secret, key = make_key(path)
    other_secret, _ = make_key(path)
    async with keyed_server(path) as caller:
        session = session_of(await caller.sign_in(secret))
        assert (await caller.recognise(secret)).status == (await caller.recognise(headers=session)).status == 200
        revoke(path, key)
        assert (await caller.recognise(secret)).status == (await caller.recognise(headers=session)).status == 401
        assert (await caller.sign_in(secret)).status == 401
        assert (await caller.recognise(other_secret)).status == 200


async def test_a_key_that_is_revoked_during_the_upload_starts_no_recognition(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count asks once more."""
    secret, key = make_key(path)
    take = Keyring.take

    async def revoke_and_take(keyring: Keyring, key_id: str, month: str) -> bool:
        revoke(path, key)
        return await take(keyring, key_id, month)

    monkeypatch.setattr(Keyring, "take", revoke_and_take)
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as caller:
        answer = await caller.recognise(secret)
    assert (answer.status, len(recogniser.seen)) == (401, 0)


async def test_too_many_calls_at_once_are_told_when_to_come_back(path: Path) -> None:
    """429 with whole seconds; the other keys are served, and the month's quota is untouched."""
    secret, key = make_key(path)
    other_secret, _ = make_key(path)
    clock = Clock()
    async with keyed_server(path, clock=clock, rate_per_s=0.5) as caller:
        assert (await caller.recognise(secret)).status == 200
        refused = await caller.recognise(secret)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "2")
        assert "quota" not in parse_status_text(refused.body)
        assert (await caller.recognise(other_secret)).status == 200
        clock.uptime_s += float(refused.headers["Retry-After"])
        assert (await caller.recognise(secret)).status == 200
    assert used(path, key) == 2


async def test_who_looks_at_the_usage_is_not_held_back(path: Path) -> None:
    """Nor does looking take from the burst."""
    secret, _ = make_key(path)
    async with keyed_server(path, rate_per_s=0.1) as caller:
        assert [(await caller.usage(secret)).status for _ in range(5)] == [200] * 5
        assert (await caller.recognise(secret)).status == 200


async def test_the_operator_s_own_key_has_no_limit(path: Path) -> None:
    """It is good beside those of the store, and they beside it."""
    secret, _ = make_key(path, quota=1)
    async with keyed_server(path, key="the operator's", rate_per_s=0.1) as caller:
        assert statuses([await caller.recognise("the operator's") for _ in range(5)]) == {200: 5}
        assert (await caller.recognise(secret)).status == 200
        assert (await caller.recognise()).status == 401
        session = session_of(await caller.sign_in("the operator's"))
        assert (await caller.recognise(headers=session)).status == 200
        assert (await caller.usage("the operator's")).reply == {
            "tier": "ultra",
            "month": "2026-11",
            "used": 6,
            "quota": None,
            "resets": "2026-12-01T00:00:00Z",
            "session": False,
        }


async def test_without_any_key_anyone_may_come_until_the_first_is_made(path: Path) -> None:
    """And revoking the last one does not open the server again."""
    async with keyed_server(path) as caller:
        assert (await caller.recognise()).status == (await caller.recognise("anything")).status == 200
        signed_in = await caller.sign_in("anything")
        assert signed_in.status == 204
        assert "Set-Cookie" not in signed_in.headers
        assert (await caller.usage()).reply["used"] == 2
        secret, key = make_key(path)
        assert (await caller.recognise()).status == (await caller.recognise("anything")).status == 401
        assert (await caller.recognise(secret)).status == 200
        revoke(path, key)
        assert (await caller.recognise()).status == 401


async def test_where_others_reach_the_server_nobody_comes_in_without_a_key(path: Path) -> None:
    """Whatever became of the store."""
    async with keyed_server(path, anyone=False) as caller:
        assert (await caller.recognise()).status == (await caller.recognise("anything")).status == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_s_page_cannot_use_an_open_server(path: Path, site: str) -> None:
    """A visitor's browser reaches loopback; the page that sends it there does not."""
    recogniser = ScriptedRecogniser()
    async with keyed_server(path, recogniser) as caller:
        assert (await caller.recognise(headers={"Sec-Fetch-Site": site})).status == 403
        assert (await caller.recognise("anything", headers={"Origin": "http://evil.example"})).status == 403
    assert len(recogniser.seen) == 0


async def test_a_store_that_cannot_be_read_lets_nobody_in(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It fails closed, and the log says why."""
    secret, _ = make_key(path)
    async with keyed_server(path) as caller:
        assert (await caller.recognise(secret)).status == 200
        path.unlink()
        answer = await caller.recognise(secret)
        assert (answer.status, answer.reply) == (500, {"statusText": "Internal Server Error: processing failed"})
        assert (await caller.recognise()).status == 500
    assert "KeyStoreError" in caplog.text


async def test_no_log_and_no_answer_holds_a_key(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of the request."""
    caplog.set_level(logging.DEBUG)
    secret, key = make_key(path, quota=1)
    async with keyed_server(path, rate_per_s=2.0) as caller:
        answers = [await caller.recognise(secret), await caller.recognise(secret), await caller.recognise(secret)]
        answers += [await caller.usage(secret), await caller.sign_in(secret), await caller.recognise(secret + "x")]
    assert [answer.status for answer in answers] == [200, 403, 429, 200, 429, 401]
    assert answers[0].reply["payload"].endswith("?key=***")
    message = caplog.text.encode() + b"".join(answer.body + repr(answer.headers).encode() for answer in answers)
    assert secret.encode() not in message
    assert key.id in caplog.text


def _count(store: KeyStore, key_id: str, month: str) -> None:
    store._db.execute(
        "INSERT INTO use VALUES (?, ?, 1) ON CONFLICT (key_id, month) DO UPDATE SET calls = calls + 1", (key_id, month)
    )


def test_a_burst_is_let_in_and_the_next_call_waits() -> None:
    """Three at once, then one each half second."""
    limit = BurstLimit(2.0, burst=3)
    assert [limit.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("a", 100.5) == 0
    assert limit.take("a", 100.5) == pytest.approx(0.5)


def test_a_refused_call_takes_nothing() -> None:
    """Who knocks again and again waits no longer than who waits."""
    limit = BurstLimit(1.0, burst=1)
    limit.take("a", 0.0)
    for _ in range(100):
        assert limit.take("a", 0.5) == pytest.approx(0.5)
    assert limit.take("a", 1.0) == 0


def test_keys_do_not_share_a_bucket() -> None:
    """One caller's burst costs the others nothing."""
    limit = BurstLimit(1.0, burst=1)
    assert [limit.take(name, 0.0) for name in ("a", "b", "a")] == [0, 0, 1.0]


@pytest.mark.parametrize(("rate_per_s", "burst"), [(10.0, 10), (2.5, 3), (0.1, 1)])
def test_without_a_burst_a_second_s_worth_may_come_at_once(rate_per_s: float, burst: int) -> None:
    """At least one call, however slow the rate."""
    limit = BurstLimit(rate_per_s)
    assert [limit.take("a", 0.0) == 0 for _ in range(burst + 1)] == [True] * burst + [False]


@given(
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_stretch_of_time_has_more_than_the_burst_and_its_share(
    rate_per_s: float, burst: int, gaps_s: list[float]
) -> None:
    """The definition of a token bucket, and a wait that was kept is enough."""
    limit = BurstLimit(rate_per_s, burst)
    now_s, taken = 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        wait_s = limit.take("a", now_s)
        if wait_s == 0:
            taken.append(now_s)
        else:
            assert BurstLimit.take(limit, "a", now_s + wait_s) == 0
            now_s += wait_s
            taken.append(now_s)
    for first, begin_s in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + rate_per_s * (taken[last] - begin_s)
            assert last - first + 1 <= allowed + 1e-6


def test_memory_does_not_grow_with_the_names() -> None:
    """A bucket that is full again is forgotten."""
    limit = BurstLimit(10.0)
    for number in range(20_000):
        limit.take(f"key {number}", number * 1.0)
    assert repr(limit).endswith(" buckets>")
    assert int(repr(limit).split()[-2]) <= 1024


@pytest.mark.parametrize(("wait_s", "header"), [(0.01, 1), (1.0, 1), (1.01, 2), (59.5, 60)])
def test_retry_after_is_whole_seconds_and_never_too_early(wait_s: float, header: int) -> None:
    """RFC 9110 knows no fractions; 0 would mean at once."""
    assert retry_after_s(wait_s) == header

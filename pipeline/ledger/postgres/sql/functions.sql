-- Functions, applied after each change of the tables. Each is one transaction and one round trip. All that changes a
-- key's counts locks the key's row first, so that changes of one key happen one after another: an order in which they
-- are serializable, without a serialization failure. At READ COMMITTED, each statement sees what was committed before it.

CREATE OR REPLACE FUNCTION pagemill.lock_ledger(p_ledger integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM pagemill.ledger WHERE number = p_ledger FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the rows of this key were deleted';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION pagemill.months(p_first text, p_last text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  IF p_first = p_last THEN
    RETURN NEXT p_first;
  ELSE
    RETURN QUERY SELECT to_char(day, 'YYYY-MM')
    FROM generate_series((p_first || '-01')::date::timestamp, (p_last || '-01')::date::timestamp, '1 month') AS day;
  END IF;
END $$;

-- The later ones of these months and of the latest that were counted in.
CREATE OR REPLACE FUNCTION pagemill.possible_months(
  p_ledger integer, INOUT first_month text, INOUT last_month text
) LANGUAGE plpgsql STABLE AS $$
BEGIN
  SELECT greatest(first_month, max(month) FILTER (WHERE begun)), greatest(last_month, max(month))
  INTO first_month, last_month FROM pagemill.month WHERE ledger = p_ledger;
END $$;

-- The same months, remembered: a clock that moves back opens no earlier one.
CREATE OR REPLACE FUNCTION pagemill.note_months(
  p_ledger integer, INOUT first_month text, INOUT last_month text
) LANGUAGE plpgsql AS $$
DECLARE
  v_begun text;
  v_last text;
BEGIN
  SELECT max(month) FILTER (WHERE begun), max(month) INTO v_begun, v_last FROM pagemill.month WHERE ledger = p_ledger;
  IF v_begun >= first_month AND v_last >= last_month THEN
    first_month := v_begun;
    last_month := v_last;
    RETURN;
  END IF;
  first_month := greatest(first_month, v_begun);
  last_month := greatest(last_month, v_last);
  INSERT INTO pagemill.month AS m (ledger, month, begun)
  SELECT p_ledger, noted, noted = first_month FROM pagemill.months(first_month, last_month) AS noted
  WHERE noted IN (first_month, last_month)
  ON CONFLICT (ledger, month) DO UPDATE SET begun = m.begun OR excluded.begun;
END $$;

CREATE OR REPLACE FUNCTION pagemill.count_usage(
  p_ledger integer, p_month text, p_last text, OUT used bigint, OUT pending bigint, OUT unknown bigint
) LANGUAGE plpgsql STABLE AS $$
BEGIN
  SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'unknown') INTO pending, unknown
  FROM pagemill.attempt
  WHERE ledger = p_ledger AND state IN ('pending', 'unknown')
    AND month <= p_month AND coalesce(until, p_last) >= p_month;
  SELECT settled + folded + adjustment INTO used FROM pagemill.month WHERE ledger = p_ledger AND month = p_month;
  used := coalesce(used, 0) + pending + unknown;
END $$;

-- Calls left in each possible month; no row without a limit.
CREATE OR REPLACE FUNCTION pagemill.count_room(
  p_ledger integer, p_first text, p_last text, p_limit bigint, OUT month text, OUT room bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_limit IS NULL THEN
    RETURN;
  END IF;
  FOR month IN SELECT * FROM pagemill.months(p_first, p_last) LOOP
    SELECT greatest(0, p_limit - used) INTO room FROM pagemill.count_usage(p_ledger, month, p_last);
    RETURN NEXT;
  END LOOP;
END $$;

-- Set the states of attempts, and the counts that depend on them. p_keep_end leaves a last month that a row has already.
-- Carried out twice, it changes nothing more.
CREATE OR REPLACE FUNCTION pagemill.settle(
  p_ledger integer, p_ids text[], p_states text[], p_last text, p_keep_end boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_lost text;
BEGIN
  SELECT wanted INTO v_lost FROM unnest(p_ids) AS wanted
  WHERE NOT EXISTS (SELECT FROM pagemill.attempt WHERE ledger = p_ledger AND id = wanted) LIMIT 1;
  IF v_lost IS NOT NULL THEN
    RAISE EXCEPTION 'it has lost the call %', v_lost;
  END IF;
  WITH former AS MATERIALIZED (
    SELECT number, attempt.state AS before, month AS first, until AS former_end, workspace, wanted.state AS after,
      CASE WHEN p_keep_end THEN coalesce(until, p_last) ELSE p_last END AS new_end
    FROM unnest(p_ids, p_states) AS wanted (id, state)
    JOIN pagemill.attempt ON attempt.ledger = p_ledger AND attempt.id = wanted.id
  ), changed AS (
    UPDATE pagemill.attempt SET state = after, until = new_end FROM former
    WHERE attempt.ledger = p_ledger AND attempt.number = former.number
  ), by_workspace AS (
    INSERT INTO pagemill.workspace AS w (ledger, id, accepted)
    SELECT p_ledger, workspace, sum((after = 'accepted')::int - (before = 'accepted')::int) FROM former
    GROUP BY workspace HAVING sum((after = 'accepted')::int - (before = 'accepted')::int) <> 0
    ON CONFLICT (ledger, id) DO UPDATE SET accepted = w.accepted + excluded.accepted
  ), counted AS (
    SELECT first, former_end AS last, -1 AS number FROM former WHERE before IN ('accepted', 'charged', 'posted')
    UNION ALL
    SELECT first, new_end, 1 FROM former WHERE after IN ('accepted', 'charged', 'posted')
  )
  INSERT INTO pagemill.month AS m (ledger, month, settled)
  SELECT p_ledger, counted_month, sum(counted.number) FROM counted, pagemill.months(first, last) AS counted_month
  GROUP BY counted_month HAVING sum(counted.number) <> 0
  ON CONFLICT (ledger, month) DO UPDATE SET settled = m.settled + excluded.settled;
END $$;

-- Extend a run's lease, when less than p_enough_s is left of it; one that has ended begins anew, in another epoch.
-- PM001: another attempt has taken over what the run works on, while its lease had ended.
CREATE OR REPLACE FUNCTION pagemill.renew_lease(
  p_ledger integer, p_owner text, p_lease_s float8, p_enough_s float8, OUT epoch bigint, OUT left_s float8
) LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
BEGIN
  SELECT o.epoch, extract(epoch FROM expires - v_now) INTO epoch, left_s
  FROM pagemill.owner AS o WHERE ledger = p_ledger AND id = p_owner;
  IF left_s > p_enough_s THEN
    RETURN;
  END IF;
  INSERT INTO pagemill.owner AS o (ledger, id, epoch, expires)
  VALUES (p_ledger, p_owner, nextval('pagemill.epoch'), v_now + make_interval(secs => p_lease_s))
  ON CONFLICT ON CONSTRAINT owner_pkey DO UPDATE SET
    epoch = CASE WHEN o.expires < v_now THEN excluded.epoch ELSE o.epoch END,
    expires = greatest(o.expires, excluded.expires)
  WHERE NOT o.fenced
  RETURNING o.epoch, extract(epoch FROM expires - v_now) INTO epoch, left_s;
  IF epoch IS NULL THEN
    RAISE EXCEPTION 'another attempt has taken over' USING ERRCODE = 'PM001';
  END IF;
END $$;

-- Settle and reserve a group of calls.
--
-- p_ids are made by the client: when it asks again because the answer was lost (p_again), those that were committed are
-- granted again, not counted twice. Reservations are granted in their order as long as each possible month, tonight's
-- share and the account's pace have room; `granted` is their number. wait_s: seconds until the pace has room again.
CREATE OR REPLACE FUNCTION pagemill.grant_calls(
  p_ledger integer, p_workspace text, p_owner text, p_lease_s float8,
  p_first text, p_last text, p_limit bigint, p_added text,
  p_settled text[], p_states text[], p_penalty_s float8,
  p_ids text[], p_pages text[], p_sources text[], p_again boolean,
  p_interval_s float8, p_ahead_s float8,
  p_night_share bigint, p_night_month text, p_night_begin text, p_night_after bigint,
  OUT granted integer, OUT delay_s float8, OUT wait_s float8, OUT pause_s float8,
  OUT full_month text, OUT room bigint, OUT share_left bigint, OUT others bigint,
  OUT epoch bigint, OUT left_s float8, OUT now_s float8
) LANGUAGE plpgsql AS $$
DECLARE
  v_ledger pagemill.ledger%ROWTYPE;
  v_first text;
  v_last text;
  v_now timestamptz;
  v_slot timestamptz;
  v_known integer := 0;
  v_new integer;
BEGIN
  SELECT * INTO v_ledger FROM pagemill.ledger WHERE number = p_ledger FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the rows of this key were deleted';
  END IF;
  v_now := clock_timestamp();  -- not now(): that is before the lock
  now_s := extract(epoch FROM v_now);
  IF p_lease_s IS NOT NULL THEN
    SELECT lease.epoch, lease.left_s INTO epoch, left_s
    FROM pagemill.renew_lease(p_ledger, p_owner, p_lease_s, p_lease_s / 2) AS lease;
  END IF;
  SELECT * INTO v_first, v_last FROM pagemill.note_months(p_ledger, p_first, p_last);
  IF cardinality(p_settled) > 0 THEN
    PERFORM pagemill.settle(p_ledger, p_settled, p_states, v_last, false);
  END IF;
  IF p_penalty_s > 0 THEN
    v_ledger.paused_until := greatest(v_ledger.paused_until, v_now + make_interval(secs => p_penalty_s));
    UPDATE pagemill.ledger SET paused_until = v_ledger.paused_until WHERE number = p_ledger;
  END IF;
  IF p_again THEN
    SELECT count(*) INTO v_known FROM pagemill.attempt WHERE ledger = p_ledger AND id = ANY (p_ids);
  END IF;
  v_new := cardinality(p_ids) - v_known;
  IF p_limit IS NOT NULL THEN
    SELECT min(left_in.room) INTO room FROM pagemill.count_room(p_ledger, v_first, v_last, p_limit) AS left_in;
  END IF;
  v_new := least(v_new, room);
  IF p_night_share IS NOT NULL THEN
    SELECT p_night_share - count(*), count(*) FILTER (WHERE owner <> p_owner) INTO share_left, others
    FROM pagemill.attempt
    WHERE ledger = p_ledger AND number > p_night_after AND state <> 'void' AND month >= p_night_month
      AND added >= p_night_begin;
    share_left := greatest(0, share_left);
    v_new := least(v_new, share_left);
  END IF;
  v_slot := greatest(v_ledger.next_call, v_ledger.paused_until, v_now);
  delay_s := extract(epoch FROM v_slot - v_now);
  pause_s := greatest(0, extract(epoch FROM v_ledger.paused_until - v_now));
  IF delay_s > p_ahead_s THEN
    v_new := 0;
  ELSIF p_interval_s > 0 THEN
    v_new := least(v_new, 1 + floor((p_ahead_s - delay_s) / p_interval_s)::integer);
  END IF;
  granted := v_known + v_new;
  IF p_interval_s > 0 AND granted > 0 THEN
    UPDATE pagemill.ledger SET next_call = v_slot + make_interval(secs => p_interval_s * granted)
    WHERE number = p_ledger;
  END IF;
  wait_s := greatest(0, extract(epoch FROM v_slot - v_now) + coalesce(p_interval_s, 0) * granted);
  room := room - v_new;
  share_left := share_left - v_new;
  IF room = 0 THEN
    SELECT max(left_in.month) INTO full_month FROM pagemill.count_room(p_ledger, v_first, v_last, p_limit) AS left_in
    WHERE left_in.room <= v_new;
  END IF;
  IF v_new > 0 THEN
    INSERT INTO pagemill.attempt (ledger, id, page, source, month, state, workspace, owner, added)
    SELECT p_ledger, wanted.id, wanted.page, wanted.source, v_first, 'pending', p_workspace, p_owner, p_added
    FROM unnest(p_ids, p_pages, p_sources) WITH ORDINALITY AS wanted (id, page, source, place)
    WHERE place > v_known AND place <= granted
    ORDER BY place;
    UPDATE pagemill.month SET reserved = reserved + v_new WHERE ledger = p_ledger AND month = v_first;
  END IF;
END $$;

-- Replace the settled rows of earlier months by counts, so that the ledger does not grow for ever.
CREATE OR REPLACE FUNCTION pagemill.fold_before(p_ledger integer, p_month text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH closed AS MATERIALIZED (
    SELECT month, until, state, workspace, count(*) AS number FROM pagemill.attempt
    WHERE ledger = p_ledger AND state IN ('accepted', 'charged', 'posted') AND month < p_month AND until < p_month
    GROUP BY month, until, state, workspace
  ), by_workspace AS (
    INSERT INTO pagemill.workspace AS w (ledger, id, accepted, folded_accepted, folded_posted)
    SELECT p_ledger, workspace, -accepted, accepted, posted FROM (
      SELECT workspace, coalesce(sum(number) FILTER (WHERE state = 'accepted'), 0) AS accepted,
        coalesce(sum(number) FILTER (WHERE state = 'posted'), 0) AS posted
      FROM closed GROUP BY workspace
    ) AS folded WHERE accepted > 0 OR posted > 0
    ON CONFLICT (ledger, id) DO UPDATE SET accepted = w.accepted + excluded.accepted,
      folded_accepted = w.folded_accepted + excluded.folded_accepted,
      folded_posted = w.folded_posted + excluded.folded_posted
  )
  INSERT INTO pagemill.month AS m (ledger, month, folded, settled)
  SELECT p_ledger, counted_month, sum(number), -sum(number)
  FROM closed, pagemill.months(closed.month, closed.until) AS counted_month GROUP BY counted_month
  ON CONFLICT (ledger, month) DO UPDATE SET folded = m.folded + excluded.folded, settled = m.settled + excluded.settled;
  DELETE FROM pagemill.attempt
  WHERE ledger = p_ledger AND state IN ('accepted', 'charged', 'posted', 'void') AND month < p_month AND until < p_month;
END $$;

-- Open the ledger of a key, made when it is missing, and fold its closed months.
CREATE OR REPLACE FUNCTION pagemill.open_ledger(
  p_key text, p_id text, p_first text, p_last text, p_limit bigint, OUT ledger integer, OUT room bigint
) LANGUAGE plpgsql AS $$
DECLARE
  v_first text;
  v_last text;
BEGIN
  INSERT INTO pagemill.ledger (key, id) VALUES (p_key, p_id) ON CONFLICT (key) DO NOTHING;
  SELECT number INTO ledger FROM pagemill.ledger WHERE key = p_key FOR UPDATE;
  SELECT * INTO v_first, v_last FROM pagemill.possible_months(ledger, p_first, p_last);
  PERFORM pagemill.fold_before(ledger, v_first);
  DELETE FROM pagemill.owner AS o WHERE o.ledger = open_ledger.ledger AND expires < now() - interval '1 year';
  SELECT min(left_in.room) INTO room FROM pagemill.count_room(ledger, v_first, v_last, p_limit) AS left_in;
END $$;

-- Dead owners make no further call: their attempts count in no month later than this one.
CREATE OR REPLACE FUNCTION pagemill.end_attempts(p_ledger integer, p_ids text[], p_first text, p_last text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_last text;
BEGIN
  PERFORM pagemill.lock_ledger(p_ledger);
  SELECT last_month INTO v_last FROM pagemill.note_months(p_ledger, p_first, p_last);
  UPDATE pagemill.attempt SET until = coalesce(until, v_last)
  WHERE ledger = p_ledger AND id = ANY (p_ids);
END $$;

-- As `settle`, for attempts of dead owners and for texts that are gone.
CREATE OR REPLACE FUNCTION pagemill.recover(
  p_ledger integer, p_ids text[], p_states text[], p_first text, p_last text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_last text;
BEGIN
  PERFORM pagemill.lock_ledger(p_ledger);
  SELECT last_month INTO v_last FROM pagemill.possible_months(p_ledger, p_first, p_last);
  PERFORM pagemill.settle(p_ledger, p_ids, p_states, v_last, true);
END $$;

-- Set the count of the clock's month. p_clock_*: the months by the clock alone; later ones that a wrong clock has opened
-- are moved to p_month.
CREATE OR REPLACE FUNCTION pagemill.set_used(
  p_ledger integer, p_used bigint, p_clock_first text, p_clock_last text, p_month text,
  OUT month text, OUT used bigint, OUT pending bigint, OUT unknown bigint
) LANGUAGE plpgsql AS $$
DECLARE
  v_first text;
  v_last text;
BEGIN
  PERFORM pagemill.lock_ledger(p_ledger);
  SELECT last_month INTO v_last FROM pagemill.possible_months(p_ledger, p_clock_first, p_clock_last);
  IF v_last > p_clock_last THEN
    PERFORM pagemill.move_months_after(p_ledger, p_clock_last, p_month);
  END IF;
  SELECT * INTO v_first, v_last FROM pagemill.note_months(p_ledger, p_clock_first, p_clock_last);
  month := greatest(v_first, p_month);
  SELECT * INTO used, pending, unknown FROM pagemill.count_usage(p_ledger, month, v_last);
  INSERT INTO pagemill.month AS m (ledger, month, adjustment)
  VALUES (p_ledger, set_used.month, p_used - (used - pending))
  ON CONFLICT ON CONSTRAINT month_pkey DO UPDATE SET adjustment = m.adjustment + excluded.adjustment;
  SELECT * INTO used, pending, unknown FROM pagemill.count_usage(p_ledger, month, v_last);
END $$;

-- Move what counts in months after p_last to p_month, and count the rows again.
CREATE OR REPLACE FUNCTION pagemill.move_months_after(p_ledger integer, p_last text, p_month text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  WITH gone AS (
    DELETE FROM pagemill.month WHERE ledger = p_ledger AND month > p_last RETURNING folded, reserved
  )
  INSERT INTO pagemill.month AS m (ledger, month, folded, reserved)
  SELECT p_ledger, p_month, coalesce(sum(folded), 0), coalesce(sum(reserved), 0) FROM gone
  ON CONFLICT (ledger, month) DO UPDATE SET folded = m.folded + excluded.folded,
    reserved = m.reserved + excluded.reserved;
  UPDATE pagemill.attempt SET month = least(month, p_month), until = CASE WHEN until > p_last THEN p_last ELSE until END
  WHERE ledger = p_ledger AND (month > p_month OR until > p_last);
  UPDATE pagemill.month SET settled = 0 WHERE ledger = p_ledger;
  INSERT INTO pagemill.month AS m (ledger, month, settled)
  SELECT p_ledger, counted_month, count(*)
  FROM pagemill.attempt AS a, pagemill.months(a.month, a.until) AS counted_month
  WHERE ledger = p_ledger AND state IN ('accepted', 'charged', 'posted') GROUP BY counted_month
  ON CONFLICT (ledger, month) DO UPDATE SET settled = excluded.settled;
END $$;

-- Heartbeat of a run: its lease, and what other runs have learned of the account.
CREATE OR REPLACE FUNCTION pagemill.beat(
  p_ledger integer, p_owner text, p_lease_s float8, OUT epoch bigint, OUT left_s float8, OUT pause_s float8
) LANGUAGE sql AS $$
  SELECT lease.epoch, lease.left_s, greatest(0, extract(epoch FROM paused_until - clock_timestamp()))
  FROM pagemill.ledger, pagemill.renew_lease(number, p_owner, p_lease_s, p_lease_s) AS lease WHERE number = p_ledger
$$;

-- Begin the next attempt at a shard. A shard that is done (exit_code) and one whose last attempt is alive (wait_s) gets
-- none. The former owner is fenced while its lease is over: the update waits for a renewal that is under way, and then
-- looks at the lease again. Carried out twice, it begins one attempt.
CREATE OR REPLACE FUNCTION pagemill.begin_shard(
  p_ledger integer, p_job text, p_shard integer, p_owner text, p_above integer,
  OUT epoch integer, OUT exit_code integer, OUT wait_s float8
) LANGUAGE plpgsql AS $$
DECLARE
  v_last pagemill.shard_epoch%ROWTYPE;
BEGIN
  PERFORM pagemill.lock_ledger(p_ledger);
  SELECT * INTO v_last FROM pagemill.shard_epoch AS s
  WHERE s.ledger = p_ledger AND s.job = p_job AND s.shard = p_shard;
  epoch := coalesce(v_last.epoch, 0);
  IF v_last.exit_code = 0 THEN
    exit_code := 0;
    RETURN;
  END IF;
  IF v_last.owner <> p_owner AND v_last.exit_code IS NULL THEN
    UPDATE pagemill.owner SET fenced = true
    WHERE ledger = p_ledger AND id = v_last.owner AND expires < clock_timestamp();
    SELECT extract(epoch FROM o.expires - clock_timestamp()) INTO wait_s FROM pagemill.owner AS o
    WHERE o.ledger = p_ledger AND o.id = v_last.owner AND NOT o.fenced;
    IF wait_s IS NOT NULL THEN
      wait_s := greatest(wait_s, 0.1);
      RETURN;
    END IF;
  ELSIF v_last.owner = p_owner AND v_last.exit_code IS NULL THEN
    RETURN;
  END IF;
  epoch := greatest(epoch, p_above) + 1;
  INSERT INTO pagemill.shard_epoch VALUES (p_ledger, p_job, p_shard, epoch, p_owner)
  ON CONFLICT ON CONSTRAINT shard_epoch_pkey
  DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner, exit_code = NULL;
END $$;

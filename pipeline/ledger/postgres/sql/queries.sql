-- Statements that read, by name.

-- name: open_ledger
SELECT ledger, room FROM pagemill.open_ledger($1, $2, $3, $4, $5)

-- name: grant_calls
SELECT * FROM pagemill.grant_calls(
  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21
)

-- name: server_time
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: find_ledger
SELECT number FROM pagemill.ledger WHERE key = $1

-- name: read_mark
SELECT id, (SELECT coalesce(sum(reserved), 0)::bigint FROM pagemill.month WHERE ledger = number) AS reserved
FROM pagemill.ledger WHERE number = $1

-- name: possible_months
SELECT first_month, last_month FROM pagemill.possible_months($1, $2, $3)

-- name: count_usage
SELECT used, pending, unknown FROM pagemill.count_usage($1, $2, $3)

-- name: list_months
SELECT month FROM pagemill.month WHERE ledger = $1

-- name: count_room
SELECT min(room) FROM pagemill.count_room($1, $2, $3, $4)

-- name: find_night
SELECT count(*) FILTER (WHERE state <> 'void' AND month >= $2) AS used,
  min(added) FILTER (WHERE state <> 'void' AND month >= $2) AS first,
  (SELECT coalesce(max(number), 0) FROM pagemill.attempt WHERE ledger = $1 AND added < $3) AS after
FROM pagemill.attempt WHERE ledger = $1 AND added >= $3

-- name: find_open
SELECT id, page, state, owner, source, workspace FROM pagemill.attempt
WHERE ledger = $1 AND state IN ('pending', 'unknown') ORDER BY number

-- name: end_attempts
SELECT pagemill.end_attempts($1, $2, $3, $4)

-- name: recover
SELECT pagemill.recover($1, $2, $3, $4, $5)

-- name: set_used
SELECT month, used, pending, unknown FROM pagemill.set_used($1, $2, $3, $4, $5)

-- name: beat
SELECT epoch, left_s, pause_s FROM pagemill.beat($1, $2, $3)

-- name: is_alive
SELECT EXISTS (SELECT FROM pagemill.owner WHERE ledger = $1 AND id = $2 AND expires >= clock_timestamp())

-- name: former_lease
SELECT greatest(0, max(extract(epoch FROM expires - clock_timestamp())))::float8 FROM pagemill.owner AS o
WHERE ledger = $1 AND id <> $3 AND EXISTS (
  SELECT FROM pagemill.attempt AS a
  WHERE a.ledger = $1 AND a.state = 'pending' AND a.owner = o.id AND workspace = $2
)

-- name: end_lease
UPDATE pagemill.owner SET expires = 'epoch' WHERE ledger = $1 AND id = $2

-- name: count_accepted
SELECT accepted + folded_accepted AS total, folded_accepted, folded_posted FROM pagemill.workspace
WHERE ledger = $1 AND id = $2

-- name: find_accepted
SELECT number, id, source FROM pagemill.attempt
WHERE ledger = $1 AND workspace = $2 AND state = 'accepted' AND number > $3 AND added <= $4
ORDER BY number LIMIT 500

-- name: count_known
SELECT count(*) FROM pagemill.attempt WHERE ledger = $1 AND id = ANY ($2)

-- name: find_charged
SELECT id FROM pagemill.attempt WHERE ledger = $1 AND state = 'charged' AND id = ANY ($2)

-- name: forget_folded
UPDATE pagemill.workspace SET folded_accepted = folded_accepted - $3 WHERE ledger = $1 AND id = $2

-- name: list_attempts
SELECT number, id, page, source, state FROM pagemill.attempt
WHERE ledger = $1 AND workspace = $2 AND number > $3 AND added <= $4 ORDER BY number LIMIT 2000

-- name: read_folded
SELECT month, folded FROM pagemill.month WHERE ledger = $1

-- name: read_kept
SELECT month, folded + adjustment AS kept FROM pagemill.month WHERE ledger = $1 ORDER BY month

-- name: count_by_minute
-- A call counts in each month that may bill it.
SELECT m.month, left(added, 16) AS minute, count(*) AS number, count(*) FILTER (WHERE workspace = $2) AS here
FROM pagemill.month AS m JOIN pagemill.attempt AS a ON a.ledger = m.ledger AND a.month <= m.month
  AND coalesce(until, (SELECT max(month) FROM pagemill.month WHERE ledger = $1)) >= m.month
WHERE m.ledger = $1 AND state <> 'void' GROUP BY 1, 2

-- name: find_miscounts
SELECT 'month ' || m.month AS name, settled AS kept, count(a.number) AS rows
FROM pagemill.month AS m LEFT JOIN pagemill.attempt AS a
  ON a.ledger = m.ledger AND state IN ('accepted', 'charged', 'posted') AND a.month <= m.month AND until >= m.month
WHERE m.ledger = $1 GROUP BY m.month, settled HAVING settled <> count(a.number)
UNION ALL
SELECT 'workspace ' || id, sum(accepted), sum(rows) FROM (
  SELECT id, accepted, 0 AS rows FROM pagemill.workspace WHERE ledger = $1
  UNION ALL
  SELECT workspace, 0, count(*) FROM pagemill.attempt WHERE ledger = $1 AND state = 'accepted' GROUP BY workspace
) AS counted GROUP BY id HAVING sum(accepted) <> sum(rows)

-- name: begin_shard
SELECT epoch, exit_code, wait_s FROM pagemill.begin_shard($1, $2, $3, $4, $5)

-- name: commit_shard
UPDATE pagemill.shard_epoch SET exit_code = $6 WHERE ledger = $1 AND job = $2 AND shard = $3 AND epoch = $4 AND owner = $5
RETURNING true

-- name: list_committed
SELECT shard, epoch, exit_code FROM pagemill.shard_epoch WHERE ledger = $1 AND job = $2 AND exit_code IS NOT NULL

-- name: find_shard
SELECT workspace, place FROM pagemill.shard WHERE ledger = $1 AND job = $2 AND number = $3

-- name: hold_shard
-- No other workspace becomes the shard before the transaction ends.
SELECT workspace FROM pagemill.shard WHERE ledger = $1 AND job = $2 AND number = $3 FOR SHARE

-- name: take_shard
-- The groups of the workspace that was the shard end first.
SELECT workspace FROM pagemill.shard WHERE ledger = $1 AND job = $2 AND number = $3 FOR UPDATE

-- name: release_former
UPDATE pagemill.claim SET workspace = NULL WHERE ledger = $1 AND job = $2 AND workspace = $3

-- name: register_shard
INSERT INTO pagemill.shard VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (ledger, job, number) DO UPDATE SET workspace = excluded.workspace, place = excluded.place

-- name: end_claims
UPDATE pagemill.claim SET ended = true WHERE ledger = $1 AND job = $2 AND workspace = $3 AND page = ANY ($4)

-- name: take_claims
-- In one order, so that groups of several runs do not wait for each other in a circle.
INSERT INTO pagemill.claim AS c (ledger, job, page, shard, workspace)
SELECT $1, $2, page, $3, $4 FROM unnest($5::text[]) AS page ORDER BY page
ON CONFLICT (ledger, job, page) DO UPDATE SET shard = excluded.shard, workspace = excluded.workspace, ended = false,
  epoch = c.epoch + (c.workspace IS DISTINCT FROM excluded.workspace)::integer
WHERE c.workspace IS NULL OR c.workspace = excluded.workspace

-- name: find_holders
SELECT page, shard FROM pagemill.claim WHERE ledger = $1 AND job = $2 AND workspace <> $3 AND page = ANY ($4)

-- name: find_unended
SELECT page FROM pagemill.claim WHERE ledger = $1 AND workspace = $3 AND NOT ended AND job = $2

-- name: release_claims
UPDATE pagemill.claim SET workspace = NULL WHERE ledger = $1 AND workspace = $3 AND NOT ended AND job = $2

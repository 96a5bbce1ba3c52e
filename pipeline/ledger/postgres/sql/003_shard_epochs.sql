-- The last attempt at each shard of a cluster's job: it alone may call for the shard, and commit it.
CREATE TABLE pagemill.shard_epoch (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  job text COLLATE "C" NOT NULL,
  shard integer NOT NULL,
  epoch integer NOT NULL,  -- number of the attempt, from 1
  owner text COLLATE "C" NOT NULL,
  exit_code integer,  -- NULL until the attempt has committed
  PRIMARY KEY (ledger, job, shard)
);

-- A fenced owner renews no lease: another attempt has taken its shard over.
ALTER TABLE pagemill.owner ADD COLUMN fenced boolean NOT NULL DEFAULT false;

-- The workspace that is a shard of a job at present.
CREATE TABLE pagemill.shard (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  job text COLLATE "C" NOT NULL,
  number integer NOT NULL,
  workspace text COLLATE "C" NOT NULL,
  place text NOT NULL,
  PRIMARY KEY (ledger, job, number)
);

CREATE TABLE pagemill.claim (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  job text COLLATE "C" NOT NULL,
  page text COLLATE "C" NOT NULL,
  shard integer NOT NULL,
  workspace text COLLATE "C",  -- NULL once it is released
  epoch bigint NOT NULL DEFAULT 1,  -- how often another workspace has taken it over, plus 1
  ended boolean NOT NULL DEFAULT false,
  PRIMARY KEY (ledger, job, page)
);
CREATE INDEX claim_open ON pagemill.claim (ledger, workspace) WHERE NOT ended;

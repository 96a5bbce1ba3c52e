-- One database counts the calls of many API keys. A key is known by a hash; it is never written here.

CREATE SEQUENCE pagemill.epoch;

CREATE TABLE pagemill.ledger (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key text COLLATE "C" NOT NULL UNIQUE,  -- a hash of the API key, or of the host that takes none
  id text NOT NULL,  -- random: by what the ledger is known again
  next_call timestamptz NOT NULL DEFAULT 'epoch',  -- the next free slot of the account's pace
  paused_until timestamptz NOT NULL DEFAULT 'epoch'  -- the end of the longest Retry-After
);

CREATE TABLE pagemill.attempt (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  number bigint GENERATED ALWAYS AS IDENTITY,
  id text COLLATE "C" NOT NULL,
  page text NOT NULL,
  source text NOT NULL,
  month text COLLATE "C" NOT NULL,  -- the first in which the vendor may bill the call
  state text COLLATE "C" NOT NULL
    CHECK (state IN ('pending', 'accepted', 'charged', 'posted', 'void', 'unknown')),
  workspace text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  added text COLLATE "C" NOT NULL,  -- RFC 3339, by the server's clock
  until text COLLATE "C",  -- the last such month; NULL while the call may still be made: any later one
  PRIMARY KEY (ledger, number),
  UNIQUE (ledger, id)
);
CREATE INDEX attempt_open ON pagemill.attempt (ledger, month) WHERE state IN ('pending', 'unknown');

CREATE TABLE pagemill.month (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  month text COLLATE "C" NOT NULL,
  folded bigint NOT NULL DEFAULT 0,
  adjustment bigint NOT NULL DEFAULT 0,
  begun boolean NOT NULL DEFAULT false,  -- the vendor bills no new call in an earlier month
  settled bigint NOT NULL DEFAULT 0,  -- rows that are accepted, charged or posted
  reserved bigint NOT NULL DEFAULT 0,  -- all calls ever reserved with this first month
  PRIMARY KEY (ledger, month)
);

CREATE TABLE pagemill.workspace (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  id text COLLATE "C" NOT NULL,
  accepted bigint NOT NULL DEFAULT 0,
  folded_accepted bigint NOT NULL DEFAULT 0,
  folded_posted bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (ledger, id)
);

-- A run is alive until its lease ends. The epoch changes when a lease is renewed after its end.
CREATE TABLE pagemill.owner (
  ledger integer NOT NULL REFERENCES pagemill.ledger,
  id text COLLATE "C" NOT NULL,
  epoch bigint NOT NULL,
  expires timestamptz NOT NULL,
  PRIMARY KEY (ledger, id)
);

-- Types are the portable ones: TEXT, BIGINT (counts, unix microseconds), BLOB. Only the INTEGER PRIMARY KEYs are SQLite's
-- own: they make the key the row's position in the file, so that appending appends.

-- One row: who may write, and the tree head that the rows of records and tree give.
CREATE TABLE head (
  id    BIGINT PRIMARY KEY CHECK (id = 1),
  epoch BIGINT NOT NULL,
  size  BIGINT NOT NULL,
  root  TEXT   NOT NULL
);

-- body is the canonical leaf; the other columns repeat parts of it for selection and are compared with it at each read.
CREATE TABLE records (
  seq     INTEGER PRIMARY KEY,
  kind    TEXT NOT NULL,
  rollout TEXT NOT NULL,
  body    BLOB NOT NULL
);
CREATE INDEX records_rollout ON records (rollout, seq);
CREATE INDEX records_kind ON records (kind, seq);

-- Stored hashes of the transparency tree by tlog index.
CREATE TABLE tree (
  idx  INTEGER PRIMARY KEY,
  hash BLOB NOT NULL
);

CREATE TABLE artifacts (
  digest TEXT PRIMARY KEY,
  kind   TEXT NOT NULL,
  body   BLOB NOT NULL
);

CREATE TABLE revisions (
  env    TEXT   NOT NULL,
  number BIGINT NOT NULL,
  digest TEXT   NOT NULL,
  body   BLOB   NOT NULL,
  at     BIGINT NOT NULL,
  PRIMARY KEY (env, number)
);
CREATE INDEX revisions_at ON revisions (env, at, number);

CREATE TABLE evidence (
  rollout TEXT   NOT NULL,
  second  BIGINT NOT NULL,
  digest  TEXT   NOT NULL,
  body    BLOB   NOT NULL,
  PRIMARY KEY (rollout, second)
);

CREATE TABLE checkpoints (
  rollout TEXT   PRIMARY KEY,
  second  BIGINT NOT NULL,
  body    BLOB   NOT NULL
);

CREATE TABLE members (
  env      TEXT NOT NULL,
  instance TEXT NOT NULL,
  boot     TEXT NOT NULL,
  body     BLOB NOT NULL,
  PRIMARY KEY (env, instance, boot)
);

CREATE TABLE outbox (
  id   INTEGER PRIMARY KEY,
  key  TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  body BLOB NOT NULL
);

CREATE TABLE tokens (
  id      TEXT   PRIMARY KEY,
  name    TEXT   NOT NULL,
  role    TEXT   NOT NULL,
  env     TEXT   NOT NULL,
  hash    BLOB   NOT NULL,
  created BIGINT NOT NULL,
  revoked BIGINT NOT NULL
);

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value BLOB NOT NULL
);

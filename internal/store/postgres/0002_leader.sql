-- Who leads: see sqlite/0002_leader.sql.
CREATE TABLE leader (
  id      BIGINT PRIMARY KEY CHECK (id = 1),
  epoch   BIGINT NOT NULL,
  name    TEXT COLLATE "C" NOT NULL,
  address TEXT COLLATE "C" NOT NULL,
  beat    BIGINT NOT NULL,
  span    BIGINT NOT NULL
);

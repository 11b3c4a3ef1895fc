-- Who leads, for servers that share a database. beat grows with each renewal; how long a beat is worth is in span, microseconds.
CREATE TABLE leader (
  id      BIGINT PRIMARY KEY CHECK (id = 1),
  epoch   BIGINT NOT NULL,
  name    TEXT   NOT NULL,
  address TEXT   NOT NULL,
  beat    BIGINT NOT NULL,
  span    BIGINT NOT NULL
);

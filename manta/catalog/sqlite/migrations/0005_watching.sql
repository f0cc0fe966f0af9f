-- When a task's last attempt began and ended, by its node's clock, and as JSON the few attempts before it.
ALTER TABLE tasks ADD COLUMN started_ms INTEGER;
ALTER TABLE tasks ADD COLUMN ended_ms INTEGER;
ALTER TABLE tasks ADD COLUMN earlier TEXT NOT NULL DEFAULT '';

-- What an account's tasks have cost, a row for each day (days since 1970, UTC). It outlives the jobs.
CREATE TABLE account_usage (
    owner_id     TEXT NOT NULL,
    day          INTEGER NOT NULL,
    tasks        INTEGER NOT NULL,
    task_ms      INTEGER NOT NULL,
    byte_seconds INTEGER NOT NULL,
    in_place     INTEGER NOT NULL,
    moved        INTEGER NOT NULL,
    shuffled     INTEGER NOT NULL,
    PRIMARY KEY (owner_id, day)
) WITHOUT ROWID;

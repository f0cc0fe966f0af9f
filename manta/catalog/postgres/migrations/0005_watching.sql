-- When a task's last attempt began and ended, by its node's clock, and as JSON the few attempts before it.
ALTER TABLE tasks ADD COLUMN started_ms bigint;
ALTER TABLE tasks ADD COLUMN ended_ms bigint;
ALTER TABLE tasks ADD COLUMN earlier text NOT NULL DEFAULT '';

-- What an account's tasks have cost, a row for each day (days since 1970, UTC). It outlives the jobs.
CREATE TABLE account_usage (
    owner_id     text NOT NULL,
    day          bigint NOT NULL,
    tasks        bigint NOT NULL,
    task_ms      bigint NOT NULL,
    byte_seconds bigint NOT NULL,
    in_place     bigint NOT NULL,
    moved        bigint NOT NULL,
    shuffled     bigint NOT NULL,
    PRIMARY KEY (owner_id, day)
);

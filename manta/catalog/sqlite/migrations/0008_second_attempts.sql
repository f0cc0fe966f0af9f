-- Where a task has a second attempt, the first of the two: `tasks` has the newer one. A node_id of '' says that it ended.
CREATE TABLE elders (
    job_id    TEXT NOT NULL,
    task_id   INTEGER NOT NULL,
    attempt   INTEGER NOT NULL,
    node_id   TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    leased_ms INTEGER NOT NULL,
    slot      TEXT,
    PRIMARY KEY (job_id, task_id)
) WITHOUT ROWID;
CREATE INDEX elders_by_node ON elders (node_id);
ALTER TABLE jobs ADD COLUMN doubled INTEGER NOT NULL DEFAULT 0;

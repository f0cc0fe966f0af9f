-- Where a task has a second attempt, the first of the two: `tasks` has the newer one. A node_id of '' says that it ended.
CREATE TABLE elders (
    job_id    text COLLATE "C" NOT NULL,
    task_id   bigint NOT NULL,
    attempt   bigint NOT NULL,
    node_id   text COLLATE "C" NOT NULL,
    epoch     text COLLATE "C" NOT NULL,
    leased_ms bigint NOT NULL,
    slot      text COLLATE "C",
    PRIMARY KEY (job_id, task_id)
);
CREATE INDEX elders_by_node ON elders (node_id);
ALTER TABLE jobs ADD COLUMN doubled bigint NOT NULL DEFAULT 0;

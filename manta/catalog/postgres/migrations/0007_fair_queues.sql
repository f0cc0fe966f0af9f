-- The ready queue by account: whose turn it is is found by one seek for each account, however many jobs it has.
CREATE TABLE ready_by_account (
    node_id  text COLLATE "C" NOT NULL,
    owner_id text COLLATE "C" NOT NULL,
    job_id   text COLLATE "C" NOT NULL,
    task_id  bigint NOT NULL,
    since_ms bigint NOT NULL,
    PRIMARY KEY (node_id, owner_id, job_id, task_id)
);
INSERT INTO ready_by_account (node_id, owner_id, job_id, task_id, since_ms)
SELECT r.node_id, j.owner_id, r.job_id, r.task_id, r.since_ms FROM ready r JOIN jobs j ON j.job_id = r.job_id;
DROP TABLE ready;
ALTER TABLE ready_by_account RENAME TO ready;

-- Jobs with running tasks are as few as there are lanes.
CREATE INDEX jobs_running ON jobs (owner_id, running) WHERE running > 0;
-- Reducers that wait for their node are looked for each second.
CREATE INDEX job_phases_ready_reducers ON job_phases (job_id, number) WHERE kind = 'reduce' AND ready > 0;

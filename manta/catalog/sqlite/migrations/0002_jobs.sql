-- Jobs, their tasks and results. States of tasks are numbers (jobs/model/states.py): 1 is ready, 2 is running.

CREATE TABLE jobs (
    job_id        TEXT PRIMARY KEY NOT NULL,
    owner_id      TEXT NOT NULL,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    ended_ms      INTEGER,
    plan          BLOB NOT NULL,
    input_ended   INTEGER NOT NULL,
    cancel_reason TEXT,
    cursor        INTEGER NOT NULL DEFAULT 0,
    next_task     INTEGER NOT NULL DEFAULT 0,
    inputs        INTEGER NOT NULL DEFAULT 0,
    outputs       INTEGER NOT NULL DEFAULT 0,
    errors        INTEGER NOT NULL DEFAULT 0,
    running       INTEGER NOT NULL DEFAULT 0,
    in_place      INTEGER NOT NULL DEFAULT 0,
    moved         INTEGER NOT NULL DEFAULT 0,
    shuffled      INTEGER NOT NULL DEFAULT 0,
    task_ms       INTEGER NOT NULL DEFAULT 0,
    tend          INTEGER NOT NULL DEFAULT 1,
    doomed        INTEGER NOT NULL DEFAULT 0,
    idempotency   TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX jobs_by_idempotency ON jobs (owner_id, idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX jobs_to_tend ON jobs (job_id) WHERE tend = 1;
CREATE INDEX jobs_by_end ON jobs (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE job_phases (
    job_id    TEXT NOT NULL,
    number    INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    reducers  INTEGER NOT NULL,
    waiting   INTEGER NOT NULL,
    ready     INTEGER NOT NULL DEFAULT 0,
    running   INTEGER NOT NULL DEFAULT 0,
    committed INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    complete  INTEGER NOT NULL DEFAULT 0,
    opened    INTEGER NOT NULL DEFAULT 0,
    dealt     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

-- Inputs as written, a list in each row, and how far they are resolved.
CREATE TABLE job_chunks (
    job_id   TEXT NOT NULL,
    chunk    INTEGER NOT NULL,
    specs    BLOB NOT NULL,
    total    INTEGER NOT NULL,
    position INTEGER NOT NULL DEFAULT 0,
    after    TEXT NOT NULL DEFAULT '',
    done     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, chunk)
) WITHOUT ROWID;
CREATE INDEX job_chunks_open ON job_chunks (job_id, chunk) WHERE done = 0;

CREATE TABLE tasks (
    job_id      TEXT NOT NULL,
    task_id     INTEGER NOT NULL,
    phase       INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    node_id     TEXT NOT NULL,
    epoch       TEXT NOT NULL,
    leased_ms   INTEGER NOT NULL,
    faults      INTEGER NOT NULL,
    losses      INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    slot        TEXT,
    reducer     INTEGER NOT NULL,
    bucket      TEXT NOT NULL,
    key         TEXT NOT NULL,
    version_id  TEXT NOT NULL,
    size        INTEGER NOT NULL,
    blob_id     TEXT,
    holders     TEXT NOT NULL,
    first_input TEXT NOT NULL,
    PRIMARY KEY (job_id, task_id)
) WITHOUT ROWID;
CREATE INDEX tasks_running ON tasks (node_id) WHERE state = 2;
CREATE INDEX tasks_ready_reducers ON tasks (job_id, phase) WHERE state = 1 AND bucket = '';

-- One row for each node that may take the task; '' stands for any node.
CREATE TABLE ready (
    node_id  TEXT NOT NULL,
    job_id   TEXT NOT NULL,
    task_id  INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (node_id, job_id, task_id)
) WITHOUT ROWID;

-- Inputs of reducers. Each row holds one reference to its blob.
CREATE TABLE shuffle (
    job_id  TEXT NOT NULL,
    phase   INTEGER NOT NULL,
    reducer INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    bucket  TEXT NOT NULL,
    key     TEXT NOT NULL,
    size    INTEGER NOT NULL,
    blob_id TEXT,
    holders TEXT NOT NULL,
    PRIMARY KEY (job_id, phase, reducer, seq)
) WITHOUT ROWID;

CREATE TABLE job_outputs (
    job_id  TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    bucket  TEXT NOT NULL,
    key     TEXT NOT NULL,
    size    INTEGER NOT NULL,
    phase   INTEGER NOT NULL,
    task_id INTEGER NOT NULL,
    PRIMARY KEY (job_id, seq)
) WITHOUT ROWID;

CREATE TABLE job_errors (
    job_id TEXT NOT NULL,
    seq    INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (job_id, seq)
) WITHOUT ROWID;

CREATE TABLE agents (
    node_id  TEXT PRIMARY KEY NOT NULL,
    epoch    TEXT NOT NULL,
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Jobs, their tasks and results. States of tasks are numbers (jobs/model/states.py): 1 is ready, 2 is running.

CREATE TABLE jobs (
    job_id        text COLLATE "C" PRIMARY KEY NOT NULL,
    owner_id      text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    state         text COLLATE "C" NOT NULL,
    created_ms    bigint NOT NULL,
    ended_ms      bigint,
    plan          bytea NOT NULL,
    input_ended   bigint NOT NULL,
    cancel_reason text COLLATE "C",
    cursor        bigint NOT NULL DEFAULT 0,
    next_task     bigint NOT NULL DEFAULT 0,
    inputs        bigint NOT NULL DEFAULT 0,
    outputs       bigint NOT NULL DEFAULT 0,
    errors        bigint NOT NULL DEFAULT 0,
    running       bigint NOT NULL DEFAULT 0,
    in_place      bigint NOT NULL DEFAULT 0,
    moved         bigint NOT NULL DEFAULT 0,
    shuffled      bigint NOT NULL DEFAULT 0,
    task_ms       bigint NOT NULL DEFAULT 0,
    tend          bigint NOT NULL DEFAULT 1,
    doomed        bigint NOT NULL DEFAULT 0,
    idempotency   text COLLATE "C"
);
CREATE UNIQUE INDEX jobs_by_idempotency ON jobs (owner_id, idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX jobs_to_tend ON jobs (job_id) WHERE tend = 1;
CREATE INDEX jobs_by_end ON jobs (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE job_phases (
    job_id    text COLLATE "C" NOT NULL,
    number    bigint NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    reducers  bigint NOT NULL,
    waiting   bigint NOT NULL,
    ready     bigint NOT NULL DEFAULT 0,
    running   bigint NOT NULL DEFAULT 0,
    committed bigint NOT NULL DEFAULT 0,
    failed    bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    complete  bigint NOT NULL DEFAULT 0,
    opened    bigint NOT NULL DEFAULT 0,
    dealt     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, number)
);

-- Inputs as written, a list in each row, and how far they are resolved.
CREATE TABLE job_chunks (
    job_id   text COLLATE "C" NOT NULL,
    chunk    bigint NOT NULL,
    specs    bytea NOT NULL,
    total    bigint NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    after    text COLLATE "C" NOT NULL DEFAULT '',
    done     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, chunk)
);
CREATE INDEX job_chunks_open ON job_chunks (job_id, chunk) WHERE done = 0;

CREATE TABLE tasks (
    job_id      text COLLATE "C" NOT NULL,
    task_id     bigint NOT NULL,
    phase       bigint NOT NULL,
    state       bigint NOT NULL,
    attempt     bigint NOT NULL,
    node_id     text COLLATE "C" NOT NULL,
    epoch       text COLLATE "C" NOT NULL,
    leased_ms   bigint NOT NULL,
    faults      bigint NOT NULL,
    losses      bigint NOT NULL,
    failures    bigint NOT NULL,
    slot        text COLLATE "C",
    reducer     bigint NOT NULL,
    bucket      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    version_id  text COLLATE "C" NOT NULL,
    size        bigint NOT NULL,
    blob_id     text COLLATE "C",
    holders     text COLLATE "C" NOT NULL,
    first_input text COLLATE "C" NOT NULL,
    PRIMARY KEY (job_id, task_id)
);
CREATE INDEX tasks_running ON tasks (node_id) WHERE state = 2;
CREATE INDEX tasks_ready_reducers ON tasks (job_id, phase) WHERE state = 1 AND bucket = '';

-- One row for each node that may take the task; '' stands for any node.
CREATE TABLE ready (
    node_id  text COLLATE "C" NOT NULL,
    job_id   text COLLATE "C" NOT NULL,
    task_id  bigint NOT NULL,
    since_ms bigint NOT NULL,
    PRIMARY KEY (node_id, job_id, task_id)
);

-- Inputs of reducers. Each row holds one reference to its blob.
CREATE TABLE shuffle (
    job_id  text COLLATE "C" NOT NULL,
    phase   bigint NOT NULL,
    reducer bigint NOT NULL,
    seq     bigint NOT NULL,
    bucket  text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    size    bigint NOT NULL,
    blob_id text COLLATE "C",
    holders text COLLATE "C" NOT NULL,
    PRIMARY KEY (job_id, phase, reducer, seq)
);

CREATE TABLE job_outputs (
    job_id  text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    bucket  text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    size    bigint NOT NULL,
    phase   bigint NOT NULL,
    task_id bigint NOT NULL,
    PRIMARY KEY (job_id, seq)
);

CREATE TABLE job_errors (
    job_id text COLLATE "C" NOT NULL,
    seq    bigint NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (job_id, seq)
);

CREATE TABLE agents (
    node_id  text COLLATE "C" PRIMARY KEY NOT NULL,
    epoch    text COLLATE "C" NOT NULL,
    until_ms bigint NOT NULL
);

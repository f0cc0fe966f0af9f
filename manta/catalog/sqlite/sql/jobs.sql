-- name: job_insert
INSERT INTO jobs (job_id, owner_id, name, state, created_ms, plan, input_ended, idempotency, clone_of)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT DO NOTHING RETURNING job_id;

-- name: job_by_idempotency
SELECT job_id FROM jobs WHERE owner_id = ?1 AND idempotency = ?2;

-- name: job_get
SELECT job_id, owner_id, name, state, created_ms, ended_ms, plan, input_ended, cancel_reason, cursor, next_task, inputs,
       outputs, errors, running, in_place, moved, shuffled, task_ms, tend, doomed, retry, outputs_gone, errors_gone,
       byte_seconds, doubled, clone_of, clone_after, ending, retry_until, copied
FROM jobs WHERE job_id = ?1;

-- name: job_lock
SELECT job_id, owner_id, name, state, created_ms, ended_ms, plan, input_ended, cancel_reason, cursor, next_task, inputs,
       outputs, errors, running, in_place, moved, shuffled, task_ms, tend, doomed, retry, outputs_gone, errors_gone,
       byte_seconds, doubled, clone_of, clone_after, ending, retry_until, copied
FROM jobs WHERE job_id = ?1;

-- name: job_try_lock
SELECT job_id, owner_id, name, state, created_ms, ended_ms, plan, input_ended, cancel_reason, cursor, next_task, inputs,
       outputs, errors, running, in_place, moved, shuffled, task_ms, tend, doomed, retry, outputs_gone, errors_gone,
       byte_seconds, doubled, clone_of, clone_after, ending, retry_until, copied
FROM jobs WHERE job_id = ?1;

-- name: job_save
UPDATE jobs SET state = ?1, ended_ms = ?2, input_ended = ?3, cancel_reason = ?4, cursor = ?5, next_task = ?6,
                inputs = ?7, outputs = ?8, errors = ?9, running = ?10, in_place = ?11, moved = ?12, shuffled = ?13,
                task_ms = ?14, tend = ?15, doomed = ?16, retry = ?17, outputs_gone = ?18,
                errors_gone = ?19, byte_seconds = ?20, doubled = ?21, clone_of = ?22, clone_after = ?23, ending = ?24,
                retry_until = ?25, copied = ?26
WHERE job_id = ?27;

-- name: job_delete
DELETE FROM jobs WHERE job_id = ?1;

-- name: jobs_page
SELECT job_id, owner_id, name, state, created_ms, ended_ms, plan, input_ended, cancel_reason, cursor, next_task, inputs,
       outputs, errors, running, in_place, moved, shuffled, task_ms, tend, doomed, retry, outputs_gone, errors_gone,
       byte_seconds, doubled, clone_of, clone_after, ending, retry_until, copied
FROM jobs
WHERE (?1 = '' OR state = ?1) AND (?2 = '' OR name = ?2) AND job_id < ?3 AND doomed = 0
ORDER BY job_id DESC LIMIT ?4;

-- name: jobs_page_of
SELECT job_id, owner_id, name, state, created_ms, ended_ms, plan, input_ended, cancel_reason, cursor, next_task, inputs,
       outputs, errors, running, in_place, moved, shuffled, task_ms, tend, doomed, retry, outputs_gone, errors_gone,
       byte_seconds, doubled, clone_of, clone_after, ending, retry_until, copied
FROM jobs INDEXED BY jobs_by_owner
WHERE owner_id = ?1 AND (?2 = '' OR state = ?2) AND (?3 = '' OR name = ?3) AND job_id < ?4 AND doomed = 0
ORDER BY job_id DESC LIMIT ?5;

-- name: jobs_to_tend
SELECT job_id FROM jobs
WHERE tend = 1 AND (doomed = 0 OR cancel_reason IS NULL OR ended_ms IS NULL OR ended_ms <= ?1)
ORDER BY job_id LIMIT ?2;

-- name: jobs_expired
SELECT job_id FROM jobs WHERE ended_ms IS NOT NULL AND ended_ms < ?1 AND doomed = 0 ORDER BY ended_ms LIMIT ?2;

-- name: jobs_live
SELECT j.job_id FROM json_each(?1) i JOIN jobs j ON j.job_id = i.value WHERE j.state NOT IN ('done', 'cancelled');

-- name: jobs_known
SELECT j.job_id FROM json_each(?1) i JOIN jobs j ON j.job_id = i.value WHERE j.doomed = 0;

-- name: phase_insert
INSERT INTO job_phases (job_id, number, kind, reducers, waiting) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: phases
SELECT number, kind, reducers, waiting, ready, running, committed, failed, cancelled, complete, opened, dealt
FROM job_phases WHERE job_id = ?1 ORDER BY number;

-- name: phase_save
UPDATE job_phases SET waiting = ?1, ready = ?2, running = ?3, committed = ?4, failed = ?5, cancelled = ?6,
                      complete = ?7, opened = ?8, dealt = ?9
WHERE job_id = ?10 AND number = ?11;

-- name: phases_delete
DELETE FROM job_phases WHERE job_id = ?1;

-- name: chunk_insert
INSERT INTO job_chunks (job_id, chunk, specs, total, idempotency) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: chunk_by_idempotency
SELECT chunk FROM job_chunks WHERE job_id = ?1 AND idempotency = ?2;

-- name: chunk_last
SELECT coalesce(max(chunk), 0) FROM job_chunks WHERE job_id = ?1;

-- name: chunk_next
SELECT chunk, specs, position, after FROM job_chunks WHERE job_id = ?1 AND done = 0 ORDER BY chunk LIMIT 1;

-- name: chunk_save
UPDATE job_chunks SET position = ?1, after = ?2, done = ?3 WHERE job_id = ?4 AND chunk = ?5;

-- name: chunks_page
SELECT chunk, specs, total FROM job_chunks WHERE job_id = ?1 AND chunk > ?2 ORDER BY chunk LIMIT ?3;

-- name: chunk_take
SELECT chunk FROM job_chunks WHERE job_id = ?1 ORDER BY chunk LIMIT ?2;

-- name: chunk_delete
DELETE FROM job_chunks WHERE job_id = ?1 AND chunk = ?2;

-- name: task_insert
INSERT INTO tasks (job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot,
                   reducer, bucket, key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
                   range_start, range_end, members)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
        ?22, ?23, ?24, ?25, ?26);

-- name: task_save
UPDATE tasks SET state = ?1, attempt = ?2, node_id = ?3, epoch = ?4, leased_ms = ?5, faults = ?6, losses = ?7,
                 failures = ?8, slot = ?9, holders = ?10, started_ms = ?11, ended_ms = ?12,
                 earlier = ?13
WHERE job_id = ?14 AND task_id = ?15;

-- name: tasks
SELECT t.job_id, t.task_id, t.phase, t.state, t.attempt, t.node_id, t.epoch, t.leased_ms, t.faults, t.losses, t.failures,
       t.slot, t.reducer, t.bucket, t.key, t.version_id, t.size, t.blob_id, t.holders, t.first_input,
       t.started_ms, t.ended_ms, t.earlier, t.range_start, t.range_end, t.members
FROM json_each(?2) i CROSS JOIN tasks t ON t.job_id = ?1 AND t.task_id = i.value;

-- name: tasks_open
SELECT job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot, reducer, bucket,
       key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
       range_start, range_end, members
FROM tasks WHERE job_id = ?1 AND task_id > ?2 AND state <= 2 ORDER BY task_id LIMIT ?3;

-- name: tasks_uncut
-- Of map phases: what waits to be cut into ranges.
SELECT job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot, reducer, bucket,
       key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
       range_start, range_end, members
FROM tasks INDEXED BY tasks_uncut WHERE job_id = ?1 AND state = 0 AND phase >= 0 ORDER BY task_id LIMIT ?2;

-- name: tasks_page
SELECT job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot, reducer, bucket,
       key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
       range_start, range_end, members
FROM tasks WHERE job_id = ?1 AND task_id > ?2 ORDER BY task_id LIMIT ?3;

-- name: tasks_window
-- The tasks of a window of numbers, in whatever state with -1: a rare state is looked for in bounded steps.
SELECT job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot, reducer, bucket,
       key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
       range_start, range_end, members
FROM tasks WHERE job_id = ?1 AND task_id > ?2 AND task_id <= ?3 AND phase >= 0 AND (?4 = -1 OR state = ?4)
ORDER BY task_id LIMIT ?5;

-- name: tasks_of_node
SELECT job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot, reducer, bucket,
       key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
       range_start, range_end, members
FROM tasks INDEXED BY tasks_running WHERE state = 2 AND node_id = ?1
UNION ALL
SELECT t.job_id, t.task_id, t.phase, t.state, e.attempt, e.node_id, e.epoch, e.leased_ms, t.faults, t.losses,
       t.failures, e.slot, t.reducer, t.bucket, t.key, t.version_id, t.size, t.blob_id, t.holders, t.first_input,
       t.started_ms, t.ended_ms, t.earlier, t.range_start, t.range_end, t.members
FROM elders e CROSS JOIN tasks t ON t.job_id = e.job_id AND t.task_id = e.task_id WHERE e.node_id = ?1
ORDER BY 1, 2;

-- name: attempts_of_node
SELECT job_id, task_id, attempt FROM tasks INDEXED BY tasks_running WHERE state = 2 AND node_id = ?1
UNION ALL SELECT job_id, task_id, attempt FROM elders WHERE node_id = ?1
ORDER BY 1, 2;

-- name: tasks_of_job
-- All that runs anywhere is little, beside the tasks of one job.
SELECT job_id, task_id, phase, state, attempt, node_id, epoch, leased_ms, faults, losses, failures, slot, reducer, bucket,
       key, version_id, size, blob_id, holders, first_input, started_ms, ended_ms, earlier,
       range_start, range_end, members
FROM tasks INDEXED BY tasks_running WHERE state = 2 AND job_id = ?1 LIMIT ?2;

-- name: elders
SELECT task_id, attempt, node_id, epoch, leased_ms, slot FROM elders WHERE job_id = ?1;

-- name: elder_save
INSERT INTO elders (job_id, task_id, attempt, node_id, epoch, leased_ms, slot)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (job_id, task_id) DO UPDATE SET attempt = excluded.attempt, node_id = excluded.node_id,
    epoch = excluded.epoch, leased_ms = excluded.leased_ms, slot = excluded.slot;

-- name: elder_delete
DELETE FROM elders WHERE job_id = ?1 AND task_id = ?2;

-- name: task_shrink
UPDATE tasks SET members = ?1, size = ?2, bucket = ?3, key = ?4, version_id = ?5, blob_id = ?6, first_input = ?7
WHERE job_id = ?8 AND task_id = ?9;

-- name: inputs_recorded
SELECT task_id, reducer, state FROM tasks
WHERE job_id = ?1 AND phase = -1 AND task_id > ?2 ORDER BY task_id LIMIT ?3;

-- name: input_end
UPDATE tasks SET state = ?1 WHERE job_id = ?2 AND task_id = ?3;

-- name: inputs_page
-- Of a window of numbers: behind the last input there may be any number of tasks of later phases.
SELECT task_id, state, bucket, key, version_id, range_start, range_end, members FROM tasks
WHERE job_id = ?1 AND phase = ?2 AND task_id > ?3 AND task_id <= ?4 ORDER BY task_id LIMIT ?5;

-- name: task_take
SELECT task_id, state, blob_id FROM tasks WHERE job_id = ?1 ORDER BY task_id LIMIT ?2;

-- name: task_delete
DELETE FROM tasks WHERE job_id = ?1 AND task_id = ?2;

-- name: ready_insert
INSERT INTO ready (node_id, owner_id, job_id, task_id, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO NOTHING;

-- name: ready_delete
DELETE FROM ready WHERE node_id = ?1 AND owner_id = ?2 AND job_id = ?3 AND task_id = ?4;

-- name: ready_any
SELECT 1 FROM ready WHERE node_id IN (?1, ?2) LIMIT 1;

-- name: ready_accounts
-- One seek for each account, with how many tasks of it run anywhere.
WITH RECURSIVE queue (owner_id) AS (
    SELECT (SELECT min(owner_id) FROM ready WHERE node_id = ?1)
    UNION ALL
    SELECT (SELECT min(r.owner_id) FROM ready r WHERE r.node_id = ?1 AND r.owner_id > queue.owner_id)
    FROM queue WHERE queue.owner_id IS NOT NULL
    LIMIT ?2
)
SELECT owner_id, coalesce((SELECT sum(running) FROM jobs j WHERE j.owner_id = queue.owner_id AND j.running > 0), 0)
FROM queue WHERE owner_id IS NOT NULL;

-- name: ready_jobs
-- One seek for each job, however many tasks it has.
WITH RECURSIVE queue (job_id) AS (
    SELECT (SELECT min(job_id) FROM ready WHERE node_id = ?1 AND owner_id = ?2)
    UNION ALL
    SELECT (SELECT min(r.job_id) FROM ready r WHERE r.node_id = ?1 AND r.owner_id = ?2 AND r.job_id > queue.job_id)
    FROM queue WHERE queue.job_id IS NOT NULL
    LIMIT ?3
)
SELECT j.job_id, j.owner_id, j.running FROM queue CROSS JOIN jobs j ON j.job_id = queue.job_id;

-- name: ready_tasks
SELECT t.job_id, t.task_id, t.phase, t.state, t.attempt, t.node_id, t.epoch, t.leased_ms, t.faults, t.losses, t.failures,
       t.slot, t.reducer, t.bucket, t.key, t.version_id, t.size, t.blob_id, t.holders, t.first_input,
       t.started_ms, t.ended_ms, t.earlier, t.range_start, t.range_end, t.members
FROM (SELECT job_id, task_id FROM ready WHERE node_id = ?1 AND owner_id = ?2 AND job_id = ?3
      ORDER BY task_id LIMIT ?4) r
CROSS JOIN tasks t ON t.job_id = r.job_id AND t.task_id = r.task_id;

-- name: ready_nodes
WITH RECURSIVE queue (node_id) AS (
    SELECT (SELECT min(node_id) FROM ready)
    UNION ALL
    SELECT (SELECT min(r.node_id) FROM ready r WHERE r.node_id > queue.node_id)
    FROM queue WHERE queue.node_id IS NOT NULL
)
SELECT node_id FROM queue WHERE node_id IS NOT NULL;

-- name: ready_window
SELECT r.owner_id, r.job_id, r.task_id, r.since_ms, t.blob_id, t.holders
FROM (SELECT owner_id, job_id, task_id, since_ms FROM ready
      WHERE node_id = ?1 AND (owner_id, job_id, task_id) > (?2, ?3, ?4)
      ORDER BY owner_id, job_id, task_id LIMIT ?5) r
CROSS JOIN tasks t ON t.job_id = r.job_id AND t.task_id = r.task_id
ORDER BY r.owner_id, r.job_id, r.task_id;

-- name: ready_placed
-- Which of these (node, owner, job, task) there are.
SELECT r.node_id, r.owner_id, r.job_id, r.task_id
FROM json_each(?1) i CROSS JOIN ready r ON r.node_id = i.value ->> 0 AND r.owner_id = i.value ->> 1
    AND r.job_id = i.value ->> 2 AND r.task_id = i.value ->> 3;

-- name: ready_reducers
-- Reducers are few; they are found by their phases, not by their place in the queue.
SELECT r.node_id, r.job_id, r.task_id, r.since_ms
FROM job_phases p INDEXED BY job_phases_ready_reducers
CROSS JOIN jobs j ON j.job_id = p.job_id
CROSS JOIN tasks t INDEXED BY tasks_ready_reducers ON t.job_id = p.job_id AND t.phase = p.number
CROSS JOIN ready r ON r.node_id = t.holders AND r.owner_id = j.owner_id AND r.job_id = t.job_id AND r.task_id = t.task_id
WHERE p.kind = 'reduce' AND p.ready > 0 AND t.state = 1 AND t.bucket = '' AND t.holders <> ''
  AND (r.since_ms < ?1 OR r.since_ms > ?2)
  AND NOT EXISTS (SELECT 1 FROM ready a WHERE a.node_id = '' AND a.owner_id = j.owner_id AND a.job_id = t.job_id
                  AND a.task_id = t.task_id)
LIMIT ?3;

-- name: shuffle_insert
INSERT INTO shuffle (job_id, phase, reducer, seq, bucket, key, size, blob_id, holders, inline)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);

-- name: shuffle_weights
SELECT reducer, holders, sum(size) FROM shuffle WHERE job_id = ?1 AND phase = ?2 AND holders <> ''
GROUP BY reducer, holders;

-- name: shuffle_page
SELECT seq, bucket, key, size, blob_id, holders, inline FROM shuffle
WHERE job_id = ?1 AND phase = ?2 AND reducer = ?3 AND seq > ?4 ORDER BY seq LIMIT ?5;

-- name: shuffle_take
SELECT phase, reducer, seq, blob_id FROM shuffle WHERE job_id = ?1 LIMIT ?2;

-- name: shuffle_after
SELECT phase, reducer, seq, blob_id FROM shuffle WHERE job_id = ?1 AND phase > ?2 LIMIT ?3;

-- name: shuffle_delete
DELETE FROM shuffle WHERE job_id = ?1 AND phase = ?2 AND reducer = ?3 AND seq = ?4;

-- name: output_insert
INSERT INTO job_outputs (job_id, seq, bucket, key, size, phase, task_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);

-- name: outputs_page
SELECT seq, bucket, key, size, phase, task_id FROM job_outputs WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3;

-- name: output_take
SELECT seq FROM job_outputs WHERE job_id = ?1 ORDER BY seq LIMIT ?2;

-- name: output_delete
DELETE FROM job_outputs WHERE job_id = ?1 AND seq = ?2;

-- name: error_insert
INSERT INTO job_errors (job_id, seq, record) VALUES (?1, ?2, ?3);

-- name: errors_page
SELECT seq, record FROM job_errors WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3;

-- name: error_take
SELECT seq FROM job_errors WHERE job_id = ?1 ORDER BY seq LIMIT ?2;

-- name: error_delete
DELETE FROM job_errors WHERE job_id = ?1 AND seq = ?2;

-- name: usage_add
INSERT INTO account_usage (owner_id, day, tasks, task_ms, byte_seconds, in_place, moved, shuffled, copied)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (owner_id, day) DO UPDATE SET
    tasks = min(account_usage.tasks + excluded.tasks, 1 << 62),
    task_ms = min(account_usage.task_ms + excluded.task_ms, 1 << 62),
    byte_seconds = min(account_usage.byte_seconds + excluded.byte_seconds, 1 << 62),
    in_place = min(account_usage.in_place + excluded.in_place, 1 << 62),
    moved = min(account_usage.moved + excluded.moved, 1 << 62),
    shuffled = min(account_usage.shuffled + excluded.shuffled, 1 << 62),
    copied = min(account_usage.copied + excluded.copied, 1 << 62);

-- name: usage_of
SELECT day, tasks, task_ms, byte_seconds, in_place, moved, shuffled, copied FROM account_usage
WHERE owner_id = ?1 AND day >= ?2 AND day <= ?3 ORDER BY day;

-- name: usage_forget
DELETE FROM account_usage WHERE owner_id = ?1;

-- name: usage_prune
DELETE FROM account_usage WHERE day < ?1;

-- name: agent_get
SELECT epoch, until_ms FROM agents WHERE node_id = ?1;

-- name: agent_save
INSERT INTO agents (node_id, epoch, until_ms) VALUES (?1, ?2, ?3)
ON CONFLICT (node_id) DO UPDATE SET epoch = excluded.epoch, until_ms = excluded.until_ms;

-- name: agents_alive
SELECT node_id FROM agents WHERE until_ms >= ?1 ORDER BY node_id;

-- name: agents_all
SELECT node_id, epoch, until_ms FROM agents ORDER BY node_id;

-- name: job_objects_find
SELECT o.key, o.version_id, o.size, o.blob_id, b.nodes
FROM json_each(?2) i CROSS JOIN objects o ON o.bucket_id = ?1 AND o.key = CAST(i.value AS BLOB)
LEFT JOIN blobs b ON b.blob_id = o.blob_id;

-- name: job_objects_page
SELECT o.key, o.version_id, o.size, o.blob_id, b.nodes, o.modified_ms, o.attributes
FROM objects o LEFT JOIN blobs b ON b.blob_id = o.blob_id
WHERE o.bucket_id = ?1 AND o.key >= ?2 AND o.key < ?3 ORDER BY o.key LIMIT ?4;

-- name: job_object_insert
INSERT INTO objects (bucket_id, key, version_id, size, etag, modified_ms, algorithms, blob_id, attributes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);

-- name: job_blob_insert
INSERT INTO blobs (blob_id, size, refs, nodes) VALUES (?1, ?2, 1, ?3);

-- name: taken_blobs
SELECT b.blob_id FROM json_each(?1) i CROSS JOIN blobs b ON b.blob_id = unhex(i.value)
UNION ALL SELECT g.blob_id FROM json_each(?1) i CROSS JOIN garbage g ON g.blob_id = unhex(i.value);

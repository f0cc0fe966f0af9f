-- name: number_node
INSERT INTO node_numbers (node_id) VALUES (?) ON CONFLICT DO NOTHING;

-- name: node_number
SELECT node_no FROM node_numbers WHERE node_id = ?;

-- name: node_name
SELECT node_id FROM node_numbers WHERE node_no = ?;

-- name: register_node
REPLACE INTO nodes (node_id, url, key, machine_id, volume, state, registered_ms) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: list_nodes
SELECT node_id, url, key, machine_id, volume, state, registered_ms FROM nodes ORDER BY node_id;

-- name: due_garbage
SELECT g.blob_id, n.node_id, g.due_ms FROM garbage g JOIN node_numbers n ON n.node_no = g.node_no
WHERE g.due_ms <= ? ORDER BY g.due_ms, g.blob_id, n.node_id LIMIT ?;

-- name: due_garbage_of_node
SELECT blob_id, due_ms FROM garbage WHERE node_no = ? AND due_ms <= ? ORDER BY due_ms, blob_id LIMIT ?;

-- name: forget_garbage
DELETE FROM garbage WHERE node_no = ? AND blob_id = ?;

-- name: catalog_born
SELECT min(applied_ms) FROM schema_migrations;

-- name: add_gap
INSERT INTO gaps (since_ms, until_ms) VALUES (?, ?)
ON CONFLICT (since_ms) DO UPDATE SET until_ms = max(gaps.until_ms, excluded.until_ms);

-- name: list_gaps
SELECT since_ms, until_ms FROM gaps ORDER BY since_ms;

-- name: close_gaps
DELETE FROM gaps;

-- name: known_blobs
-- One that still grows is known everywhere: its completion may be copying it to a node that was not there before.
SELECT i.value FROM json_each(?2) i
WHERE EXISTS (SELECT 1 FROM replicas WHERE node_no = ?1 AND blob_id = unhex(i.value))
   OR EXISTS (SELECT 1 FROM garbage WHERE node_no = ?1 AND blob_id = unhex(i.value))
   OR EXISTS (SELECT 1 FROM blobs WHERE blob_id = unhex(i.value) AND size IS NULL)
   OR i.value IN (SELECT slot FROM tasks INDEXED BY tasks_running WHERE state = 2)
   OR i.value IN (SELECT slot FROM elders WHERE slot IS NOT NULL);

-- name: blobs_of_node
SELECT b.blob_id, b.size, b.nodes FROM replicas r JOIN blobs b ON b.blob_id = r.blob_id
WHERE r.node_no = ? AND r.blob_id > ? AND b.size IS NOT NULL ORDER BY r.blob_id LIMIT ?;

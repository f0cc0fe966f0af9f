-- name: number_node
INSERT INTO node_numbers (node_no, node_id) SELECT coalesce(max(node_no), 0) + 1, $1::text FROM node_numbers
ON CONFLICT DO NOTHING;

-- name: node_number
SELECT node_no FROM node_numbers WHERE node_id = $1;

-- name: node_name
SELECT node_id FROM node_numbers WHERE node_no = $1;

-- name: register_node
INSERT INTO nodes (node_id, url, key, machine_id, volume, state, registered_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (node_id) DO UPDATE SET
    url = $2, key = $3, machine_id = $4, volume = $5, state = $6, registered_ms = $7;

-- name: list_nodes
SELECT node_id, url, key, machine_id, volume, state, registered_ms FROM nodes ORDER BY node_id;

-- name: due_garbage
SELECT g.blob_id, n.node_id, g.due_ms FROM garbage g JOIN node_numbers n ON n.node_no = g.node_no
WHERE g.due_ms <= $1 ORDER BY g.due_ms, g.blob_id, n.node_id LIMIT $2;

-- name: due_garbage_of_node
SELECT blob_id, due_ms FROM garbage WHERE node_no = $1 AND due_ms <= $2 ORDER BY due_ms, blob_id LIMIT $3;

-- name: forget_garbage
DELETE FROM garbage WHERE node_no = $1 AND blob_id = $2;

-- name: catalog_born
SELECT min(applied_ms) FROM schema_migrations;

-- name: add_gap
INSERT INTO gaps (since_ms, until_ms) VALUES ($1, $2)
ON CONFLICT (since_ms) DO UPDATE SET until_ms = greatest(gaps.until_ms, excluded.until_ms);

-- name: list_gaps
SELECT since_ms, until_ms FROM gaps ORDER BY since_ms;

-- name: close_gaps
DELETE FROM gaps;

-- name: known_blobs
-- One that still grows is known everywhere: its completion may be copying it to a node that was not there before.
SELECT i FROM jsonb_array_elements_text($2::jsonb) i
WHERE EXISTS (SELECT 1 FROM replicas WHERE node_no = $1 AND blob_id = decode(i, 'hex'))
   OR EXISTS (SELECT 1 FROM garbage WHERE node_no = $1 AND blob_id = decode(i, 'hex'))
   OR EXISTS (SELECT 1 FROM blobs WHERE blob_id = decode(i, 'hex') AND size IS NULL)
   OR i IN (SELECT slot FROM tasks WHERE state = 2)
   OR i IN (SELECT slot FROM elders WHERE slot IS NOT NULL);

-- name: blobs_of_node
SELECT b.blob_id, b.size, b.nodes FROM replicas r JOIN blobs b ON b.blob_id = r.blob_id
WHERE r.node_no = $1 AND r.blob_id > $2 AND b.size IS NOT NULL ORDER BY r.blob_id LIMIT $3;

-- name: add_blob
-- An id that is garbage already is refused: its files are about to be deleted.
INSERT INTO blobs (blob_id, size, refs, nodes)
SELECT ?1, ?2, 1, ?3 WHERE NOT EXISTS (SELECT 1 FROM garbage WHERE blob_id = ?1)
ON CONFLICT DO NOTHING RETURNING refs;

-- name: add_replica
INSERT INTO replicas (node_no, blob_id) VALUES (?, ?);

-- name: get_blob
SELECT size, refs, nodes FROM blobs WHERE blob_id = ?;

-- name: finish_blob
UPDATE blobs SET size = ?2, nodes = ?3 WHERE blob_id = ?1;

-- name: refer_to_blobs
-- How many references each gains, or loses.
UPDATE blobs SET refs = refs + w.many
FROM (SELECT unhex(i.key) AS blob_id, i.value AS many FROM json_each(?1) i) w
WHERE blobs.blob_id = w.blob_id RETURNING blob_id, refs, nodes;

-- name: release_blob
UPDATE blobs SET refs = refs - 1 WHERE blob_id = ? RETURNING refs, nodes;

-- name: delete_blob
DELETE FROM blobs WHERE blob_id = ?;

-- name: delete_replica
DELETE FROM replicas WHERE node_no = ? AND blob_id = ?;

-- name: add_garbage
INSERT INTO garbage (node_no, blob_id, due_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

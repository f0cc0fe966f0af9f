-- name: add_blob
-- An id that is garbage already is refused: its files are about to be deleted.
INSERT INTO blobs (blob_id, size, refs, nodes)
SELECT $1::bytea, $2::bigint, 1, $3::bytea WHERE NOT EXISTS (SELECT 1 FROM garbage WHERE blob_id = $1)
ON CONFLICT DO NOTHING RETURNING refs;

-- name: add_replica
INSERT INTO replicas (node_no, blob_id) VALUES ($1, $2);

-- name: get_blob
SELECT size, refs, nodes FROM blobs WHERE blob_id = $1 FOR UPDATE;

-- name: finish_blob
UPDATE blobs SET size = $2, nodes = $3 WHERE blob_id = $1;

-- name: refer_to_blobs
-- How many references each gains, or loses. The rows are locked in the order of their ids before any is changed.
WITH wanted AS (
    SELECT decode(key, 'hex') AS blob_id, value::bigint AS many FROM jsonb_each_text($1::jsonb)
), held AS (
    SELECT b.blob_id, w.many FROM wanted w JOIN blobs b ON b.blob_id = w.blob_id ORDER BY b.blob_id FOR UPDATE OF b
)
UPDATE blobs SET refs = refs + held.many FROM held WHERE blobs.blob_id = held.blob_id
RETURNING blobs.blob_id, blobs.refs, blobs.nodes;

-- name: release_blob
UPDATE blobs SET refs = refs - 1 WHERE blob_id = $1 RETURNING refs, nodes;

-- name: delete_blob
DELETE FROM blobs WHERE blob_id = $1;

-- name: delete_replica
DELETE FROM replicas WHERE node_no = $1 AND blob_id = $2;

-- name: add_garbage
INSERT INTO garbage (node_no, blob_id, due_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

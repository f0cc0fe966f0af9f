-- name: create_bucket
INSERT INTO buckets (name, owner_id, created_ms, kind) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING RETURNING bucket_id;

-- name: get_bucket
SELECT bucket_id, name, owner_id, created_ms, kind, policy FROM buckets WHERE name = ?;

-- name: bucket_for_change
SELECT bucket_id FROM buckets WHERE name = ?;

-- name: bucket_for_removal
SELECT bucket_id FROM buckets WHERE name = ?;

-- name: list_buckets
SELECT bucket_id, name, owner_id, created_ms, kind, policy FROM buckets WHERE owner_id = ? AND kind = ? ORDER BY name;

-- name: bucket_in_use
SELECT EXISTS (SELECT 1 FROM objects WHERE bucket_id = ?1) OR EXISTS (SELECT 1 FROM uploads WHERE bucket_id = ?1);

-- name: delete_bucket
DELETE FROM buckets WHERE bucket_id = ?;

-- name: set_bucket_policy
UPDATE buckets SET policy = ?2 WHERE bucket_id = ?1;

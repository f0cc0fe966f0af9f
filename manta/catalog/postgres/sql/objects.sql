-- name: locate
SELECT b.bucket_id, b.owner_id, b.created_ms, b.kind, b.policy,
       o.version_id, o.size, o.etag, o.modified_ms, o.attributes, o.blob_id, l.size, l.nodes
FROM buckets b
LEFT JOIN objects o ON o.bucket_id = b.bucket_id AND o.key = $2
LEFT JOIN blobs l ON l.blob_id = o.blob_id
WHERE b.name = $1;

-- name: current_object
SELECT version_id, etag, blob_id FROM objects WHERE bucket_id = $1 AND key = $2 FOR UPDATE;

-- name: insert_object
INSERT INTO objects (bucket_id, key, version_id, size, etag, modified_ms, algorithms, blob_id, attributes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING size;

-- name: update_object
UPDATE objects SET version_id = $3, size = $4, etag = $5, modified_ms = $6, algorithms = $7, blob_id = $8,
                   attributes = $9
WHERE bucket_id = $1 AND key = $2;

-- name: delete_object
DELETE FROM objects WHERE bucket_id = $1 AND key = $2;

-- name: scan_objects
SELECT key, size, etag, modified_ms, algorithms FROM objects
WHERE bucket_id = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4;

-- name: walk_objects
-- The first key of each group: after every key found, the next seek starts beyond its group, or beyond the key itself.
WITH RECURSIVE walk (key, number) AS (
    SELECT (SELECT key FROM objects WHERE bucket_id = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT 1), 1
    UNION ALL
    SELECT (
        SELECT o.key FROM objects o
        WHERE o.bucket_id = $1 AND o.key < $3 AND o.key > CASE position($5::bytea IN substring(walk.key FROM $6::int + 1))
            WHEN 0 THEN walk.key
            ELSE substring(walk.key FROM 1 FOR
                    $6::int - 1 + position($5::bytea IN substring(walk.key FROM $6::int + 1)) + length($5::bytea))
                || '\xff'::bytea
        END
        ORDER BY o.key LIMIT 1), walk.number + 1
    FROM walk WHERE walk.key IS NOT NULL AND walk.number < $4::int
)
SELECT o.key, o.size, o.etag, o.modified_ms, o.algorithms
FROM walk JOIN objects o ON o.bucket_id = $1 AND o.key = walk.key ORDER BY o.key;

-- name: put_new_object
-- A key that does not exist yet, with its new blob, in one round trip. (1, 1) when it was done; (0, 0) without a bucket
-- (of that id, where one is given), (1, 0) when the key exists or the blob id is taken.
WITH bucket AS (
    SELECT bucket_id FROM buckets WHERE name = $1 AND bucket_id = coalesce($12::bigint, bucket_id)
), made AS (
    INSERT INTO objects (bucket_id, key, version_id, size, etag, modified_ms, algorithms, blob_id, attributes)
    SELECT bucket_id, $2::bytea, $3::bytea, $4::bigint, $5::text, $6::bigint, $7::bigint, $8::bytea, $9::bytea
    FROM bucket WHERE NOT EXISTS (SELECT 1 FROM garbage WHERE blob_id = $8)
    ON CONFLICT DO NOTHING RETURNING blob_id, size
), blob AS (
    INSERT INTO blobs (blob_id, size, refs, nodes)
    SELECT blob_id, size, 1, $10::bytea FROM made WHERE blob_id IS NOT NULL
), replica AS (
    INSERT INTO replicas (node_no, blob_id)
    SELECT n, made.blob_id FROM made CROSS JOIN unnest($11::bigint[]) AS n WHERE made.blob_id IS NOT NULL
)
SELECT (SELECT count(*) FROM bucket), (SELECT count(*) FROM made);

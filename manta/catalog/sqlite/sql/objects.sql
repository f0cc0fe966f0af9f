-- name: locate
SELECT b.bucket_id, b.owner_id, b.created_ms, b.kind, b.policy,
       o.version_id, o.size, o.etag, o.modified_ms, o.attributes, o.blob_id, l.size, l.nodes
FROM buckets b
LEFT JOIN objects o ON o.bucket_id = b.bucket_id AND o.key = ?2
LEFT JOIN blobs l ON l.blob_id = o.blob_id
WHERE b.name = ?1;

-- name: current_object
SELECT version_id, etag, blob_id FROM objects WHERE bucket_id = ? AND key = ?;

-- name: insert_object
INSERT INTO objects (bucket_id, key, version_id, size, etag, modified_ms, algorithms, blob_id, attributes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING RETURNING size;

-- name: update_object
UPDATE objects SET version_id = ?3, size = ?4, etag = ?5, modified_ms = ?6, algorithms = ?7, blob_id = ?8,
                   attributes = ?9
WHERE bucket_id = ?1 AND key = ?2;

-- name: delete_object
DELETE FROM objects WHERE bucket_id = ? AND key = ?;

-- name: scan_objects
SELECT key, size, etag, modified_ms, algorithms FROM objects
WHERE bucket_id = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?;

-- name: walk_objects
-- The first key of each group: after every key found, the next seek starts beyond its group, or beyond the key itself.
WITH RECURSIVE walk (key) AS (
    SELECT * FROM (SELECT key FROM objects WHERE bucket_id = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT 1)
    UNION ALL
    SELECT (
        SELECT o.key FROM objects o
        WHERE o.bucket_id = ?1 AND o.key < ?3 AND o.key > CASE instr(substr(walk.key, ?6 + 1), ?5)
            WHEN 0 THEN walk.key
            ELSE CAST(substr(walk.key, 1, ?6 - 1 + instr(substr(walk.key, ?6 + 1), ?5) + length(?5)) || x'ff' AS BLOB)
        END
        ORDER BY o.key LIMIT 1)
    FROM walk WHERE walk.key IS NOT NULL
    LIMIT ?4
)
SELECT o.key, o.size, o.etag, o.modified_ms, o.algorithms
FROM walk CROSS JOIN objects o WHERE o.bucket_id = ?1 AND o.key = walk.key;

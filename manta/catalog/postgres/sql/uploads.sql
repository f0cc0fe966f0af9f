-- name: create_upload
INSERT INTO uploads (upload_id, bucket_id, key, blob_id, slot_bytes, initiated_ms, owner_id, algorithm, checksum_type,
                     attributes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: get_upload
SELECT u.upload_id, b.name, u.key, u.blob_id, l.nodes, u.slot_bytes, u.attributes, u.initiated_ms, u.owner_id,
       u.algorithm, u.checksum_type
FROM uploads u JOIN buckets b ON b.bucket_id = u.bucket_id JOIN blobs l ON l.blob_id = u.blob_id
WHERE u.upload_id = $1;

-- name: list_uploads
SELECT u.upload_id, b.name, u.key, u.blob_id, l.nodes, u.slot_bytes, u.attributes, u.initiated_ms, u.owner_id,
       u.algorithm, u.checksum_type
FROM uploads u JOIN buckets b ON b.bucket_id = u.bucket_id JOIN blobs l ON l.blob_id = u.blob_id
WHERE u.bucket_id = $1 AND u.key >= $2 AND u.key < $3 
  AND (u.key > $4 OR (u.key = $4 AND encode(u.upload_id, 'hex') COLLATE "C" > $5))
ORDER BY u.key, u.upload_id LIMIT $6;

-- name: expired_uploads
SELECT u.upload_id, b.name, u.key, u.blob_id, l.nodes, u.slot_bytes, u.attributes, u.initiated_ms, u.owner_id,
       u.algorithm, u.checksum_type
FROM uploads u JOIN buckets b ON b.bucket_id = u.bucket_id JOIN blobs l ON l.blob_id = u.blob_id
WHERE u.initiated_ms < $1 ORDER BY u.initiated_ms, u.upload_id LIMIT $2;

-- name: upload_for_change
SELECT u.slot_bytes, u.blob_id, u.bucket_id, u.key, b.name FROM uploads u JOIN buckets b ON b.bucket_id = u.bucket_id
WHERE u.upload_id = $1 FOR UPDATE OF u;

-- name: fix_slot_bytes
UPDATE uploads SET slot_bytes = $2 WHERE upload_id = $1;

-- name: take_slot
INSERT INTO upload_slots (upload_id, number) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING number;

-- name: part_blob
SELECT blob_id FROM upload_parts WHERE upload_id = $1 AND number = $2;

-- name: put_part
INSERT INTO upload_parts (upload_id, number, size, etag, modified_ms, in_slot, blob_id, checksums)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (upload_id, number) DO UPDATE SET
    size = $3, etag = $4, modified_ms = $5, in_slot = $6, blob_id = $7, checksums = $8;

-- name: list_parts
SELECT p.number, p.size, p.etag, p.modified_ms, p.in_slot, p.blob_id, p.checksums, l.size, l.nodes
FROM upload_parts p LEFT JOIN blobs l ON l.blob_id = p.blob_id
WHERE p.upload_id = $1 AND p.number > $2 ORDER BY p.number LIMIT $3;

-- name: part_etags
SELECT number, etag FROM upload_parts WHERE upload_id = $1;

-- name: part_blobs
SELECT blob_id FROM upload_parts WHERE upload_id = $1 AND blob_id IS NOT NULL;

-- name: delete_upload
DELETE FROM uploads WHERE upload_id = $1;

-- name: remember_completed
INSERT INTO completed_uploads (bucket_id, upload_id, key, completed_ms, version) VALUES ($1, $2, $3, $4, $5);

-- name: completed_upload
SELECT c.key, c.version FROM completed_uploads c JOIN buckets b ON b.bucket_id = c.bucket_id
WHERE b.name = $1 AND c.upload_id = $2 AND c.completed_ms > $3;

-- name: forget_completed
DELETE FROM completed_uploads WHERE (bucket_id, upload_id) IN (
    SELECT bucket_id, upload_id FROM completed_uploads WHERE completed_ms < $1 ORDER BY completed_ms, upload_id LIMIT $2)
RETURNING upload_id;

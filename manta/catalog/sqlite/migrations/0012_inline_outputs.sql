-- The whole of a small intermediate output (INLINE_OUTPUT_BYTES); null for those in blobs.

ALTER TABLE shuffle ADD COLUMN inline BLOB;

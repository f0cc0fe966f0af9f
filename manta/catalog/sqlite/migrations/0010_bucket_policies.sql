-- Who else may read a bucket, as its owner wrote it (manta/auth/bucket_policy.py); null for nobody.

ALTER TABLE buckets ADD COLUMN policy TEXT;

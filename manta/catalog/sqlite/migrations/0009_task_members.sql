-- The inputs of a task that takes a batch of small ones (manta/catalog/job_records.py, Member); null for the others.

ALTER TABLE tasks ADD COLUMN members BLOB;

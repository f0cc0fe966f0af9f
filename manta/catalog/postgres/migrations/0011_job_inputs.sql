-- `clone_of`: the job whose inputs are still being copied, those of its chunks up to `clone_after` are. `ending`: how reducers
-- of a first phase ended whose inputs do not say so yet, as JSON (manta/catalog/job_scripts/ending.py).

ALTER TABLE jobs ADD COLUMN clone_of text COLLATE "C";
ALTER TABLE jobs ADD COLUMN clone_after bigint NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN ending text COLLATE "C" NOT NULL DEFAULT '';

-- The key under which a client added these inputs, on the first chunk of them.
ALTER TABLE job_chunks ADD COLUMN idempotency text COLLATE "C";
CREATE UNIQUE INDEX job_chunks_by_idempotency ON job_chunks (job_id, idempotency) WHERE idempotency IS NOT NULL;

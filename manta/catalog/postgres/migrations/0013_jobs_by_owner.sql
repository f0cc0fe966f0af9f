-- An account's list of jobs is as long as its own jobs, however many others have.
CREATE INDEX jobs_by_owner ON jobs (owner_id, job_id);

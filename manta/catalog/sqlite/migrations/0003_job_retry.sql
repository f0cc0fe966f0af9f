-- Jobs that are opened again. `retry`: 0, or the first phase that is done anew, plus 1, while the failed tasks are looked
-- for; `outputs_gone` and `errors_gone`: lines that a retry took back, so that numbers of lines only ever grow.

ALTER TABLE jobs ADD COLUMN retry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN outputs_gone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN errors_gone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN byte_seconds INTEGER NOT NULL DEFAULT 0;

-- From here on a failed task keeps its input for a retry; those of before have let it go.
UPDATE tasks SET blob_id = NULL WHERE state = 4;

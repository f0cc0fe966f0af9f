-- Tasks that wait to be cut into ranges (job_scripts/map_tasks.py, cut_page); inputs of reducers are of phase -1.

CREATE INDEX tasks_uncut ON tasks (job_id, task_id) WHERE state = 0 AND phase >= 0;

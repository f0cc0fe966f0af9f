"""The node's side of a job: leases tasks, runs them in a sandbox, keeps and reports what they made."""

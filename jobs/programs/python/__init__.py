"""What runs a packed function in its task: shipped into the zone by `jobs.programs.python_runtime`."""

"""From a composed configuration to a record, for one row or many: the run, its processes, sessions, Slurm."""

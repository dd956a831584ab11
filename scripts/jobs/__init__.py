"""One row from its composed configuration to its record, and many of them: sessions, processes, shards, Slurm."""

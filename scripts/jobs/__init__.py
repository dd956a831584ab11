"""From a composed configuration to a record, for one row or many: sessions, processes, shards, Slurm."""

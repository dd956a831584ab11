"""The speed bench: methods timed in turn in one process, and the statistics of their timings."""

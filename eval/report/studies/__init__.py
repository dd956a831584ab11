"""Measurements that the page shows with the runs: Figure 3, staleness, and timings with random weights."""

"""Scoring images: one file per metric, its network, and what all metrics share (decoding, cache, intervals)."""

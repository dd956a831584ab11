"""Thin Hydra entry points that compose conf, baselines, eval and retom: run, tables."""

"""Measuring: prompts, reference pictures, generation, metrics, timing, records, tables. Knows no method and no Hydra."""

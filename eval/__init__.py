"""Measuring: prompts, reference pictures, generation, metrics, timing, records, tables. No method and no Hydra."""

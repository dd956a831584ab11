"""Measuring: prompts, reference images, generation, metrics, timing, records, tables. No method and no Hydra."""

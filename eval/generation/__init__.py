"""Generating the images of a run: prompts, seeds, models, samplers, image files, shards."""

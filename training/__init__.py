"""Trains the tiny text-to-image model of `model=tiny` from a labelled folder of small images, stage by stage."""

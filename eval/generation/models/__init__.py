"""Models that do not come from the hub: published architectures with random weights, and the tiny model."""

"""Downloads of models, metric networks and references: resumed, checked by hash, explained where they fail."""

"""The step `check` of a run: everything that may fail before the first image."""

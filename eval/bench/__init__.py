"""The bench: methods timed side by side in one process, and what their figures are worth."""

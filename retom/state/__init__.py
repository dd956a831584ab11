"""The state of one generation: its step, its call sequences, and the image of each row of the batch."""

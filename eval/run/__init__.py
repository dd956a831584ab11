"""One run: its row, what is checked before it, which of its steps are due, what it is compared with, its record."""

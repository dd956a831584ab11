"""The dry run: what a long run will take, and what it lacks."""

"""Checks of the numbers: gates, the claims of the paper, a second scoring, and where every CSV comes from."""

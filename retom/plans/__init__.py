"""Plans: which token is merged into which, with what weight, and how a plan is made from windows and similarity."""

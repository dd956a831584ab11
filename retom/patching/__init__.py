"""Putting a method on a model: sites, hooks, and what each site stores. No architecture is named here."""

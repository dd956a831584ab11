"""From trained weights to what the project ships: export, sample sheet, model card, release."""

"""The networks that measure: weight files checked by hash, and the small ones of the smoke profile."""

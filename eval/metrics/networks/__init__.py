"""Networks used by the metrics: weight files checked by hash, and the small networks of the smoke profile."""

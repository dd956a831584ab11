"""From the command line to jobs: composition, one-line error messages, and what a configuration may do."""

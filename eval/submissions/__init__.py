"""Results of others: packing a finished run, checking what was submitted, badges, and the page that lists it.

docs/submitting.md is the description for people. Nothing here imports or runs what a submission names.
"""

"""The report: one self-contained page from the records of an experiment, and its figures as files.

`gather` builds the tables. `points`, `sweeps` and `gallery` choose from records and images what is shown, and `figures`
plots it. `summary`, `claims`, `tables_view` and `provenance` turn it into text. `page` fills the template.
"""

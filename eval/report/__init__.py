"""The report: one self-contained page from the records of an experiment, and its figures as files.

`gather` builds the tables, `points`, `sweeps` and `gallery` take from records and pictures what is shown, `figures`
draws, `tables_view` and `provenance` say it in words, `page` puts all of it into `template.html.j2`.
"""

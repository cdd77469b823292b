"""The study in MLflow: one experiment per data set and protocol, a parent run per method, a child per seed.

No stage writes to MLflow while it runs. Each leaves its history, metrics and resolved config as files, and
`ingest` reads them all at the end: a single writer, and the store can always be made again from the files.
"""

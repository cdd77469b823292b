"""The study in MLflow: one experiment a dataset and protocol, a parent run a variant, a child a
seed.

No stage writes to MLflow while it runs. Each leaves its history, metrics and resolved config as
files, and `ingest` reads them all at the end: a single writer, and the store can be rebuilt from
the files.

- `store`: where the store is, its initialisation, artifact addresses that survive moving the folder
- `records`: the result files as run records (pure reading)
- `ingest`: the records into the store; a rerun supersedes
- `served_model`: the headline model as MLflow serves it
"""

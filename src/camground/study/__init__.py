"""What a study is: its config, its tables and their schemas, where results come from, progress, errors."""

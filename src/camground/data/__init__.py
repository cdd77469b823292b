"""Data sets: `scenes` made here, `folder` for one's own photographs, `refer` and `flickr30k` for the
benchmarks; all write the same tables."""

"""Data sets: `scenes` made here, `folder` for one's own photographs; all write the same tables."""

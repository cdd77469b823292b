"""Proposals: candidate boxes of a photograph, best first, by one of several methods."""

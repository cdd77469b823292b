"""Bringing public data sets here: the table of sources, the transfer, the unpacking."""

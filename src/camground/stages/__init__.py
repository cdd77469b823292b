"""The stages of the workflow and the tools, thin: each parses its options, calls one room, and writes."""

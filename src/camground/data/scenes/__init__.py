"""The embedded data set: drawn scenes of multi-part objects with referring expressions and word swaps."""

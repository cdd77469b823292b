"""The grounder: backbone, language encoder, CAM encoder, transformer, fusion."""

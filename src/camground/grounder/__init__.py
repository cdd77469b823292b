"""The grounder, the method itself: `grounder.Grounder.forward` is the forward pass, `read_out` the box.

`cam_encoder`, `fusion` and `attention` are its modules, `regions` the geometry of proposals on a grid,
`map_boxes` the boxes around maps, `batches` what it reads of a study's files, `predict` what it writes.
"""

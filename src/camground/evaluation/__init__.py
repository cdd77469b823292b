"""How good the boxes and the maps are: ground truth, metrics, baselines, and what the study compares.

Nothing before this room reads the targets. `outcomes` measures one method, `baselines` the methods that
learn nothing more, `ablation` compares all of them; `metric_table` lists every metric once.
"""

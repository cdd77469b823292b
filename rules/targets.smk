"""Named targets, beside the stages' own names: one per variant.

Purpose: `snakemake --cores all no_fusion` trains and evaluates that variant with every seed;
`--forcerun no_fusion` trains it again even when it is up to date.
Inputs: the metrics of the variant's seeds.
Outputs: none.
"""

for variant in STUDY.variants:

    rule:
        name:
            variant
        input:
            results_of(variant),

"""Stage `methods`, of studies with `methods`: somebody else's boxes.

Purpose: read each method's file of boxes as predictions, or prompt its detector with each expression, and measure them as all
others.
Inputs: the file, or the pictures, the images and expressions tables; for the measuring also the proposals, whose recall is
reported, and the targets.
Outputs: predictions, metrics and outcomes of each method, and the entries of its file that were refused.
"""

from camground.evaluation.config import PROMPTED

if STUDY.methods:

    rule methods:
        input:
            **TEXTS,
            files=method_files,
            code=lambda wildcards: code("methods", *([PROMPTED] if prompted(wildcards) else [])),
        output:
            predictions=trained("{method}", SEEDS[0], "predictions.parquet"),
            rejected=trained("{method}", SEEDS[0], "rejected.parquet"),
        log:
            study("logs/methods-{method}.log"),
        benchmark:
            study("benchmarks/methods-{method}.tsv")
        conda:
            "../envs/camground.yaml"
        threads: lambda wildcards: ALL_CORES if prompted(wildcards) else 1
        resources:
            mem_mb=lambda wildcards: 8000 if prompted(wildcards) else 1500,
            gpu=lambda wildcards: GPU if prompted(wildcards) else 0,
        params:
            config=lambda wildcards: STUDY.part(
                "evaluate.splits", methods={wildcards.method: STUDY.methods[wildcards.method].to_dict()}
            ),
        message:
            "Boxes of {wildcards.method}"
        shell:
            "camground methods --config {params.config:q} --images {input.images:q}"
            " --expressions {input.expressions:q} --rejected {output.rejected:q}"
            " --output {output.predictions:q} --threads {threads}"
            " 2>&1 | tee {log:q} >&2"

    rule evaluate_method:
        input:
            **TEXTS,
            targets=rules.data.output.targets,
            predictions=rules.methods.output.predictions,
            proposals=EVALUATED_PROPOSALS,
            code=code("evaluate"),
        output:
            metrics=trained("{method}", SEEDS[0], "metrics.parquet"),
            outcomes=trained("{method}", SEEDS[0], "outcomes.parquet"),
        log:
            study("logs/evaluate-{method}.log"),
        benchmark:
            study("benchmarks/evaluate-{method}.tsv")
        conda:
            "../envs/camground.yaml"
        threads: 1
        resources:
            mem_mb=1500,
        params:
            config=lambda wildcards: STUDY.part(
                "dataset", "evaluate", variant=wildcards.method, seed=SEEDS[0]
            ),
        message:
            "Evaluate {wildcards.method}"
        shell:
            "camground evaluate --config {params.config:q} --images {input.images:q}"
            " --expressions {input.expressions:q} --targets {input.targets:q}"
            " --predictions {input.predictions:q} --proposals {input.proposals:q}"
            " --metrics {output.metrics:q} --outcomes {output.outcomes:q}"
            " 2>&1 | tee {log:q} >&2"

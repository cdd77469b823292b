"""camground: weakly supervised visual grounding, from data to the ablation table and the report.

    snakemake --cores all                                       the study of config.yaml
    snakemake --cores all no_cam_encoder                        one variant, all seeds
    snakemake --cores all --forcerun no_cam_encoder             train it again; the table takes it in
    snakemake --cores all --configfile configs/smoke.yaml       another study

Stages: data -> proposals -> (tuning ->) features -> matcher -> gradcam -> train -> predict -> evaluate ->
ablation -> report -> tracking. Each has its file in rules/ and its module in src/camground/stages.
"""

from snakemake.utils import min_version

min_version("9.0")


# Started from elsewhere, as with --directory, the checkout's own. As a module, its `config:` takes the place of both;
# the defaults of the models are the same.
for file in ("config.yaml", f"{workflow.current_basedir.get_path_or_uri(secret_free=True)}/config.yaml"):
    if Path(file).exists():

        configfile: file

        break


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/targets.smk"
include: "rules/download.smk"
include: "rules/leakage.smk"
include: "rules/data.smk"
include: "rules/proposals.smk"
include: "rules/tuning.smk"
include: "rules/features.smk"
include: "rules/matcher.smk"
include: "rules/gradcam.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/evaluate.smk"
include: "rules/methods.smk"
include: "rules/ablation.smk"
include: "rules/report.smk"
include: "rules/tracking.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        rules.ablation.output,
        rules.report.output,
        rules.tracking.output,


onsuccess:
    results = [file for file in map(study, ("ablation.md", "report.html")) if Path(file).exists()]
    if results:
        logger.info(f"Results: {', '.join(results)}")
    model = study("model")
    if Path(model).exists():
        logger.info(f'A box in a photograph: camground ground {model} PHOTO "PHRASE" --drawn out.png')

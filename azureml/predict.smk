# What `crossfold predict --azureml` runs: images that were never part of a dataset, in one job.
#     snakemake predict_images --snakefile azureml/predict.smk --profile azureml --config sent=predictions/Prostate/.sent

from pathlib import Path

from crossfold.prediction.sending import PREDICTED, REQUEST, Request

SENT = Path(config["sent"])
ASKED = Request.read(SENT / REQUEST)


rule predict_images:
    """Predict the images of a request with the members of a bundle."""
    input:
        request=str(SENT / REQUEST),
        bundle=str(ASKED.bundle),
        # Of a function, as file names may hold braces.
        images=lambda wildcards: ASKED.files,
    output:
        directory(str(SENT / PREDICTED)),
    log:
        f"logs/predict_images/{SENT.parent.name}.log",
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/predict_images.py"

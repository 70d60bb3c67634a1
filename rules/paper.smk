# Figures, drawn from files and redrawn when only their looks change.


localrules:
    plot_montage,


rule plot_montage:
    """Show the best, the median and the worst test subject of the ensemble."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        metrics=paths.ENSEMBLE_METRICS,
        segmentations=paths.ENSEMBLE_SEGMENTATIONS,
    output:
        png=report(
            f"{paths.MONTAGE}.png",
            caption="../report/montage.rst",
            category="Segmentations",
            labels={"model": "{run}", "figure": "best, median and worst"},
        ),
        pdf=f"{paths.MONTAGE}.pdf",
        csv=f"{paths.MONTAGE}.csv",
    log:
        "logs/plot_montage/{run}.log",
    params:
        model=section("images", "structures"),
        figures=CONFIG.figures.model_dump(mode="json"),
        code=fingerprint("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/plot_montage.py"

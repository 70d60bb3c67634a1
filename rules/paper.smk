# Figures, tables and the report, made from files and made again when only their looks change.


include: "common_paper.smk"


FIGURES_CONFIG = CONFIG.figures.model_dump(mode="json", exclude={"colours"})


localrules:
    draw_figure,
    draw_patch_sampling,
    draw_thumbnails,
    write_tables,
    write_reporting,
    write_report,
    call_hook,


rule draw_figure:
    """Draw one figure, and keep the table that it was drawn from beside it."""
    input:
        unpack(figure_inputs),
    output:
        png=report(
            f"{paths.FIGURE}.png",
            caption="../report/figure.rst",
            category=lambda wildcards: FIGURES[wildcards.figure].category,
            labels=lambda wildcards: {
                "model": wildcards.run,
                "figure": FIGURES[wildcards.figure].title,
            },
        ),
        pdf=f"{paths.FIGURE}.pdf",
        csv=f"{paths.FIGURE}.csv",
    log:
        "logs/draw_figure/{run}_{figure}.log",
    params:
        context=figure_context,
        options=figure_options,
        figures=FIGURES_CONFIG,
        caption=lambda wildcards: FIGURES[wildcards.figure].caption,
        code=lambda wildcards: fingerprint_with_imports(
            f"paper/figures/{FIGURES[wildcards.figure].module}.py"
        ),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/draw_figure.py"


rule draw_thumbnails:
    """Draw a small picture of every subject for the table of the report."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=of_model(paths.SPLITS),
        segmentations=all_segmentations,
    output:
        directory(paths.THUMBNAILS),
    log:
        "logs/draw_thumbnails/{run}.log",
    params:
        model=section("images", "structures"),
        code=fingerprint_with_imports("paper/thumbnails.py"),
        software=software_of("paper"),
    threads: CORES
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/draw_thumbnails.py"


rule draw_patch_sampling:
    """Draw where training looks: maps of the crops that are drawn of a subject."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=paths.SPLITS,
        preprocessed=paths.PREPROCESSED,
        plan=if_planned(paths.MODEL_PLAN),
    output:
        directory(paths.PATCH_SAMPLING),
    log:
        "logs/draw_patch_sampling/{model}.log",
    params:
        model=section("images", "structures"),
        training=lambda wildcards: {
            key: value
            for key, value in training_of(wildcards).items()
            if key in ("patch_size", "foreground", "sampling", "seed")
        },
        subjects=lambda wildcards: model_of(wildcards).diagnostics.patch_sampling_subjects,
        draws=lambda wildcards: model_of(wildcards).diagnostics.patch_sampling_draws,
        figures=FIGURES_CONFIG,
        code=fingerprint("learning/sampling.py"),
        pictures=fingerprint_with_imports("paper/patch_sampling.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/draw_patch_sampling.py"


rule write_tables:
    """Write the tables of a paper, and a LaTeX macro for every number in its text."""
    input:
        **STATEMENT_INPUTS,
    output:
        [
            paths.TABLE.replace("{table}", f"{table}.{suffix}")
            for table in TABLES
            for suffix in ("tex", "csv")
        ],
        html=[
            report(
                paths.TABLE.replace("{table}", f"{table}.html"),
                caption="../report/table.rst",
                category="Tables",
                # Without labels of their own, only the last of them could be opened.
                labels={"model": "{run}", "table": table.capitalize()},
            )
            for table in TABLES
        ],
        macros=paths.TABLE.replace("{table}", "macros.tex"),
    log:
        "logs/write_tables/{run}.log",
    params:
        about=statement_params,
        code=fingerprint_with_imports("paper/tables/__init__.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/write_tables.py"


rule write_reporting:
    """Fill the checklists of journals and a model card, as far as the pipeline knows."""
    input:
        **STATEMENT_INPUTS,
    output:
        claim=paths.REPORTING.replace("{document}", "checklist_claim.csv"),
        tripod=paths.REPORTING.replace("{document}", "checklist_tripod_ai.csv"),
        card=paths.REPORTING.replace("{document}", "model_card.md"),
    log:
        "logs/write_reporting/{run}.log",
    params:
        about=statement_params,
        code=fingerprint_with_imports("paper/reporting/__init__.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/write_reporting.py"


rule write_report:
    """Write the report: one file that opens anywhere."""
    input:
        **STATEMENT_INPUTS,
        figures=lambda wildcards: figures_of(wildcards.run),
        thumbnails=paths.THUMBNAILS,
        annotations=of_model(paths.ANNOTATIONS.replace("{view}", "extremes.csv")),
        manifest=manifest_of,
        tables=rules.write_tables.output,
        reporting=rules.write_reporting.output,
    output:
        report(
            paths.REPORT,
            caption="../report/report.rst",
            category="Report",
            labels={"model": "{run}"},
        ),
    log:
        "logs/write_report/{run}.log",
    params:
        about=statement_params,
        code=fingerprint_with_imports("paper/report/__init__.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/write_report.py"


rule call_hook:
    """Call a function of the site when everything of a model is made, and keep what it prints."""
    input:
        # Not read but for the first: they have to come first.
        config=paths.CONFIG,
        made=lambda wildcards: results_of(wildcards.model),
    output:
        paths.HOOK,
    log:
        "logs/call_hook/{model}.log",
    params:
        hook=hook_of("post_cross_validation"),
        code=fingerprint("paper/hook.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/call_hook.py"

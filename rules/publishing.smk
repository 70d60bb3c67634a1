# A published model: its large files with DVC, its small ones in git.


include: "registry.smk"


for published_model in CONFIG.models:

    rule:
        """Make everything of a model, and publish it."""
        name:
            f"publish_{published_model}"
        input:
            targets_of(published_model),
        log:
            f"logs/publish/{published_model}.log",
        params:
            model=published_model,
            configfiles=[str(file) for file in configuration_files(workflow)],
        localrule: True
        conda:
            "../envs/publishing.yaml"
        script:
            "../scripts/publish.py"

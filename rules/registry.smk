# Bundles under a name and a version, and what a site does with them then.


localrules:
    register_model,
    deploy_model,


# Under --software-deployment-method conda, the environment has no executor plugin, which knows the
# workspace: registry.kind: azureml needs the environment of Snakemake itself.
rule register_model:
    """Give a verified bundle its version in the registry, or find the one that it has."""
    input:
        bundle=paths.BUNDLE,
        verified=paths.BUNDLE_VERIFIED,
    output:
        paths.REGISTERED_MODEL,
    log:
        "logs/register_model/{run}.log",
    params:
        registry=CONFIG.registry.model_dump(mode="json"),
        code=fingerprint("registry/facts.py", "registry/registering.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/register_model.py"


rule deploy_model:
    """Call a function of the site when a bundle is registered, and keep what it prints."""
    input:
        registered=paths.REGISTERED_MODEL,
        bundle=paths.BUNDLE,
    output:
        paths.DEPLOYED,
    log:
        "logs/deploy_model/{run}.log",
    params:
        hook=hook_of("model_deployment"),
        code=fingerprint("paper/hook.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/deploy_model.py"

# A site's own code, named by import path in the configuration.

from crossfold.config.functions import targets_in
from crossfold.workflow import OwnCode

OWN_CODE = OwnCode(configuration_files(workflow))


def own_code(*sections):
    """The files of a site's own code that sections of a model name."""

    def files(wildcards):
        with readable_errors():
            where = f"models.{name_of(wildcards)}"
            return OWN_CODE.files_of(targets_in(section(*sections)(wildcards), where))

    return files


def hook_of(kind):
    """The import path of a hook of a model."""

    def target(wildcards):
        with readable_errors():
            name = name_of(wildcards)
            hook = CONFIG.hook_of(name, kind)
            OWN_CODE.files_of({hook: f"models.{name}.hooks.{kind}"})
        return hook

    return target


def targets_of(model):
    """What a user wants of a model in the end, and what the site wants then."""
    hooks = CONFIG.model(model).hooks
    called = {paths.HOOK: hooks.post_cross_validation, paths.DEPLOYED: hooks.model_deployment}
    files = [file.format(model=model, run=model) for file, hook in called.items() if hook]
    return results_of(model) + files


def code_of_import(wildcards):
    """Code that imports a dataset; that of DICOM counts where it is used."""
    is_dicom = CONFIG.datasets[wildcards.dataset].source == "dicom"
    own = ["data/dicom"] if is_dicom else []
    return fingerprint("images.py", "data/importers", "data/phantom", *own)

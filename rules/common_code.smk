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


def hook_of(wildcards):
    """The import path of what is called when everything of a model is made."""
    with readable_errors():
        hook = CONFIG.hook_of(wildcards.model)
        OWN_CODE.files_of({hook: f"models.{wildcards.model}.hooks.post_cross_validation"})
    return hook

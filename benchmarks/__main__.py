"""Every benchmark that needs no data from elsewhere: `python -m benchmarks`."""

import runpy
import sys
from importlib.util import find_spec

names = ["metrics", "statistics", "figures", "training_step", "dry_run", "publishing"]
if find_spec("snakemake_executor_plugin_azureml"):
    names += ["azureml_transfer", "azureml_jobs"]
else:
    print("Without Azure Machine Learning: run `make setup-azureml setup-azurite` for it.")
for name in names:
    print(f"\n## {name}\n", flush=True)
    sys.argv = [name]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")

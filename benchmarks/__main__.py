"""Every benchmark that needs no data from elsewhere: `python -m benchmarks`."""

import runpy
import sys
from importlib.util import find_spec
from shutil import which

names = ["metrics", "statistics", "figures", "training_step", "dry_run", "publishing", "predict"]
if find_spec("snakemake_executor_plugin_azureml"):
    names += ["azureml_transfer", "azureml_jobs"]
else:
    print("Without Azure Machine Learning: run `make setup-azureml setup-azurite` for it.")
if find_spec("snakemake_executor_plugin_slurm") and which("slurmctld"):
    names += ["slurm_jobs"]
else:
    print("Without SLURM: run `make setup-slurm`, and install slurmctld, slurmd and munge.")
for name in names:
    print(f"\n## {name}\n", flush=True)
    sys.argv = [name]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")

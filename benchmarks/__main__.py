"""Every benchmark that needs no data from elsewhere: `python -m benchmarks`."""

import runpy
import sys

for name in ("metrics", "statistics", "figures", "training_step", "dry_run"):
    print(f"\n## {name}\n", flush=True)
    sys.argv = [name]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")

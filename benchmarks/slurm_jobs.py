"""What a batch job of SLURM costs beside its command, on the SLURM of the tests.

    python -m benchmarks.slurm_jobs

One node on this machine, which nobody else uses: a queue is what your cluster has.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.workflow.slurm_cluster import SlurmCluster, SlurmMissingError, running_cluster

JOBS = 5
COMMAND = (
    *(sys.executable, "-m", "snakemake", "--executor", "slurm", "--jobs", "1"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
)
# Each batch job begins when a rule that runs here has just ended.
IN_TURN = """
rule here:
    input: lambda wildcards: [f"there/{int(wildcards.number) - 1}"] * (wildcards.number != "0")
    output: "here/{number}"
    localrule: True
    shell: "date +%s.%N > {output}"
rule there:
    input: "here/{number}"
    output: "there/{number}"
    resources: mem_mb=1000, runtime=10
    shell: "date +%s.%N > {output}"
"""


def send_in_turn(cluster: SlurmCluster) -> list[float]:
    """Seconds from the moment a job may begin to its command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(IN_TURN, encoding="utf-8")
        subprocess.run(
            [*COMMAND, f"there/{JOBS - 1}"],
            cwd=folder,
            env=os.environ | cluster.environment,
            check=True,
            capture_output=True,
        )
        return [
            float((folder / "there" / str(number)).read_text())
            - float((folder / "here" / str(number)).read_text())
            for number in range(JOBS)
        ]


def main() -> None:
    """Print the overhead of each job, and their median."""
    try:
        with running_cluster() as cluster:
            overheads_s = send_in_turn(cluster)
    except SlurmMissingError as missing:
        sys.exit(str(missing))
    print(describe())
    shown = ", ".join(f"{value:.1f}" for value in overheads_s)
    print(f"\nfrom the moment a job may begin to its command (s): {shown}")
    print(f"median {statistics.median(overheads_s):.1f} s")


if __name__ == "__main__":
    main()

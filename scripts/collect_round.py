"""Add what came of the trials of a round to what is known of earlier ones."""

from pathlib import Path

from crossfold.data.splits import Splits
from crossfold.search.proposals import read_proposals
from crossfold.search.rounds import Known, collect_round, read_curves, write_curves
from crossfold.search.table import read_trials, write_trials
from crossfold.workflow import job

with job(snakemake):
    search, before = snakemake.params.search, None
    if snakemake.input.get("trials"):
        trials = read_trials(Path(snakemake.input.trials))
        before = Known(trials, read_curves(Path(snakemake.input.curves)))
    splits = Splits.read(Path(snakemake.input.splits))
    folders = dict[int, dict[int, Path]]()
    for folder in map(Path, snakemake.input.folders):
        folders.setdefault(int(folder.parts[-3]), {})[int(folder.name)] = folder
    known = collect_round(
        int(snakemake.wildcards.round),
        read_proposals(Path(snakemake.input.proposals)),
        folders,
        metric=search["metric"],
        structures=snakemake.params.structures,
        groups={member.subject: member.group for member in splits.members},
        as_it_is=[*map(Path, snakemake.input.as_it_is)],
        before=before,
    )
    write_trials(Path(snakemake.output.trials), known.trials)
    write_curves(Path(snakemake.output.curves), known.curves)

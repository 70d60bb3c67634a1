"""Print the metrics of ensembles: `python -m crossfold.paper.tables FILE...`."""

import sys
from pathlib import Path

from crossfold.paper.tables.terminal import print_metrics

for argument in sys.argv[1:]:
    print_metrics(Path(argument))

"""What was run, and what came out: gathered once, for the report, the checklists and the macros.

Nothing here is guessed. What a file does not say is None, or an empty tuple.
"""

from crossfold.paper.facts.gathering import changed_keys, gather_facts, software_facts
from crossfold.paper.facts.records import (
    Change,
    DatasetFacts,
    Excluded,
    Facts,
    Result,
    SoftwareFacts,
    SplitFacts,
    TrainingFacts,
)

__all__ = [
    "Change",
    "DatasetFacts",
    "Excluded",
    "Facts",
    "Result",
    "SoftwareFacts",
    "SplitFacts",
    "TrainingFacts",
    "changed_keys",
    "gather_facts",
    "software_facts",
]

"""`plan: auto`: spacing, crops, network and the rest, from what the training subjects are like."""

from crossfold.data.planning.planning import plan_model, write_plan

__all__ = ["plan_model", "write_plan"]

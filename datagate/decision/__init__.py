"""The decision point (PDP): what a caller may see of one relation. Pure: no I/O, no SQL, no clock."""

from datagate.decision.decide import decide

__all__ = ["decide"]

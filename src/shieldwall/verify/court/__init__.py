"""The initiator's side of the check: statements are filed and joined, cases closed, culprits named.

Read in this order: `records.py` (what was said), `referee.py` (the rules), `evidence.py` (what a case needs),
`court.py` (the course of a step), `updates.py` (gradients and new states).
"""

from shieldwall.verify.court.court import Court
from shieldwall.verify.court.oversight import DuplicateOversight

__all__ = ["Court", "DuplicateOversight"]

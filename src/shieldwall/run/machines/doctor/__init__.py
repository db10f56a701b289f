"""What `shieldwall doctor` looks at, and `join` before it joins: can this machine take part, and what to do if not.

`finding.py` is what a check says. Of this machine alone: `packages.py`, `device.py`, `storage.py`, `clock.py`. Of the
way to a run: `reach.py` and `certificate.py` by address, `visit.py` puts them together; `line.py` measures; `terms.py`
is what the run answered. `examine.py` runs them all, `fitness.py` is `join`'s part.

Nothing is changed by looking: no key is made, no use of a ticket is taken, nothing is written down at either end.
"""

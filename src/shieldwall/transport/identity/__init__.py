"""Who takes part in a run over a network: its own authority, tickets, enrolment, and the book of members.

`gate.py` is the run's side in one class, `ticket.py`, `home.py` and `joining.py` are the joiner's. Nothing here opens
a connection; the gRPC transport does, with what is made here.
"""

"""Runs that span machines: the initiator gathers workers over the wire, and what a worker does on its own machine."""

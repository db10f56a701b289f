"""The ticket, and what the run said to whoever showed it: will it be let in?"""

from __future__ import annotations

from datetime import datetime

from shieldwall.run.machines.doctor.finding import Finding, bad, good
from shieldwall.transport.identity.clock import in_words
from shieldwall.transport.identity.joining import Membership
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote.probe import Standing

_NEW_TICKET = "ask for a new ticket: shieldwall invite RUN"


def check_ticket(ticket: Ticket, kept: Membership | None, now: datetime) -> Finding:
    """Whether the ticket is still good by this machine's clock; a home that is a member already needs none."""
    until = f"for run {ticket.run}, until {in_words(ticket.expires)}"
    if now < ticket.expires:
        return good("ticket", until)
    if kept and now < kept.expires:
        return good("ticket", f"{until}: over, and not needed, since this home is {kept.name} in the run")
    return bad("ticket", f"it has expired: {until}, and it is {in_words(now)} here", f"{_NEW_TICKET}, or set the clock")


def check_admission(standing: Standing, ticket: Ticket, was_there: bool) -> Finding:
    """Whether the run would let this machine in.

    Args:
        standing: as whom the run took it.
        ticket: that was shown.
        was_there: this home has been in the run before.
    """
    if standing is Standing.MEMBER:
        return good("admission", "a member of the run already")
    if standing is Standing.GUEST:
        return good("admission", "the ticket lets one more in; looking has not used it")
    if standing is Standing.EXPIRED:
        return bad("admission", "the ticket has expired by the clock of the run", _NEW_TICKET)
    saw = f"the ticket is used up: {ticket.uses} joined with it"
    if was_there:
        return good("admission", f"{saw}, and this home, which was in the run before, may come again")
    return bad("admission", saw, f"{_NEW_TICKET} --uses N")

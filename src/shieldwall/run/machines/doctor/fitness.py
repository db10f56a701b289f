"""What `join` does before it joins: look quickly, tell what fails, and stop where no part can be taken."""

from __future__ import annotations

from collections.abc import Callable

from shieldwall.core.errors import TransportError
from shieldwall.run.machines.doctor.examine import Doctor
from shieldwall.transport.identity.ticket import Ticket


def check_fitness(doctor: Doctor, ticket: Ticket, tell: Callable[[str], None]) -> None:
    """Whether this machine can take part in the ticket's run; `tell` hears what is not as it should be.

    Raises:
        TicketError: SW-T204; the ticket has expired. That it is used up is for the run to say, when it is asked.
        TransportError: SW-T120; it cannot, and what is to be done. Nothing was changed.
    """
    found = doctor.examine(ticket)
    failed = [finding for finding in found if not finding.passed]
    for finding in failed:
        tell(str(finding))
    if not failed:
        tell(f"all {len(found)} checks passed")
    preventing = [finding for finding in failed if finding.prevents and finding.check != "admission"]
    if any(finding.check == "ticket" for finding in preventing):
        ticket.check_time(doctor.senses.clock())  # what was given is of no use: an error of input
    if preventing:
        raise TransportError(
            "SW-T120",
            f"this machine cannot take part in run {ticket.run} as it is",
            where=", ".join(ticket.addresses),
            expected="all checks of shieldwall doctor passed",
            got="\n".join(f"{' '.join((each.check, each.about)).strip()}: {each.saw}" for each in preventing),
            state="nothing was changed; the ticket was not used",
            remedy="\n".join(dict.fromkeys(each.remedy for each in preventing)),
        )

"""Clocks: this machine's by itself, and against the run's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from shieldwall.core import version
from shieldwall.run.machines.doctor.finding import Finding, bad, good
from shieldwall.transport.identity.clock import LARGEST_SKEW, in_words

_SET = "set this machine's clock, for example with timedatectl set-ntp true"
_LAST = datetime(2100, 1, 1, tzinfo=UTC)


def check_clock(now: datetime) -> Finding:
    """Whether this machine's time can be right, as far as it can tell alone: the package was installed before it."""
    installed = datetime.fromtimestamp(Path(version.__file__).stat().st_mtime, UTC)
    if installed - LARGEST_SKEW <= now < _LAST:
        return good("clock", f"{in_words(now)}, which can be")
    saw = f"{in_words(now)}, and the package's own files are of {in_words(installed)}"
    return bad("clock", saw, _SET, prevents=False)


def check_skew(of_run: datetime, here: datetime) -> Finding:
    """Whether this machine's clock and the run's agree as well as enrolment asks for.

    Args:
        of_run: the run's clock when it answered.
        here: this machine's, half-way between question and answer.
    """
    apart = abs(of_run - here)
    saw = f"{apart.total_seconds():.1f} s apart; {LARGEST_SKEW // timedelta(seconds=1)} s are allowed"
    if apart <= LARGEST_SKEW:
        return good("clock against the run's", saw)
    direction = "behind" if of_run > here else "ahead of"
    saw += f", this clock is {direction} the run's: {in_words(here)} here, {in_words(of_run)} there"
    return bad("clock against the run's", saw, f"set the clock that is wrong; {_SET}")

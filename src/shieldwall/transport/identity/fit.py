"""Whether a machine fits the run: the version that it says it runs, and the arithmetic that it says it computes in.

It is asked before anything is given to it: with its request to be enrolled, and again whenever it begins a session. Who
says what is not so gets in, computes other bits than its neighbours, and is found out by the checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from shieldwall.core.arithmetic import OF_MACHINES, ArithmeticClass, name_machine
from shieldwall.core.errors import EnrolmentError
from shieldwall.core.version import VERSION
from shieldwall.transport.identity.enrolment import bad_request

PACKAGE = "shieldwall"
_WORDS = (PACKAGE, *OF_MACHINES)
_LONGEST_WORD = 128


def describe_machine(device: torch.device) -> dict[str, str]:
    """What this machine says of itself where it will compute on `device`."""
    return {PACKAGE: VERSION, **name_machine(device)}


def check_fit(said: Mapping[str, Any], run: ArithmeticClass) -> None:
    """Whether a machine that says this of itself can take part.

    Args:
        said: as `describe_machine` makes it; more may stand beside it.
        run: the run's class.

    Raises:
        EnrolmentError: SW-T221, it is no such description; SW-T230, another arithmetic class; SW-T231, another version.
    """
    machine = {word: said.get(word) for word in _WORDS}
    if not all(_is_word(value) for value in machine.values()):
        raise bad_request(f"a machine that says of itself: {', '.join(_WORDS)}", "something else, or no words")
    words = {word: str(value) for word, value in machine.items()}
    if words[PACKAGE] != VERSION:
        raise EnrolmentError(
            "SW-T231",
            "the machine runs another version of shieldwall than the run",
            expected=VERSION,
            got=words[PACKAGE],
            remedy=f"pip install shieldwall=={VERSION} on the machine that joins, or the other way round at the run",
        )
    if run.on(words) != run:
        raise another_class(run, run.on(words))


def another_class(run: ArithmeticClass, machine: ArithmeticClass) -> EnrolmentError:
    """The error SW-T230, with both classes in words."""
    return EnrolmentError(
        "SW-T230",
        "the machine computes in another arithmetic class than the run",
        expected=str(run),
        got=str(machine),
        remedy="join from a machine with the run's device and instruction set and the same versions of torch and"
        " transformers, or begin the run on a machine of this one's class",
    )


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_WORD and value.isprintable()

"""The kinds of attacks: what a bad worker may do, one module each, and the list of them.

A kind is a subclass of `Attack`, limited to what a worker sees. Other packages add one through the entry-point group
`shieldwall.attacks`.
"""

from __future__ import annotations

import difflib

from shieldwall.attacks.base import Attack
from shieldwall.core.errors import ConfigError
from shieldwall.core.registry import Registry

ATTACKS = Registry(
    "shieldwall.attacks",
    {
        "sign_flip": "shieldwall.attacks.sign_flip:SignFlip",
        "gaussian": "shieldwall.attacks.gaussian:Gaussian",
        "noise": "shieldwall.attacks.noise:Noise",
        "scale": "shieldwall.attacks.scale:Scale",
        "constant": "shieldwall.attacks.constant:Constant",
        "replay": "shieldwall.attacks.replay:Replay",
        "own_weights": "shieldwall.attacks.own_weights:OwnWeights",
        "wrong_gradient": "shieldwall.attacks.wrong_gradient:WrongGradient",
        "wrong_update": "shieldwall.attacks.wrong_update:WrongUpdate",
        "equivocate": "shieldwall.attacks.equivocate:Equivocate",
        "input_lie": "shieldwall.attacks.input_lie:InputLie",
        "false_accusation": "shieldwall.attacks.false_accusation:FalseAccusation",
        "lazy_checker": "shieldwall.attacks.lazy_checker:LazyChecker",
        "malformed": "shieldwall.attacks.malformed:Malformed",
    },
)
"""`kind` of an attack to a subclass of `Attack`; see docs/attacks.md."""


def find_attack(kind: str, where: str) -> type[Attack]:
    """The class behind `kind`.

    Raises:
        ConfigError: SW-A101; there is no such kind.
    """
    if kind not in ATTACKS:
        near = difflib.get_close_matches(kind, ATTACKS, n=1)
        raise ConfigError(
            "SW-A101",
            f'there is no attack of the kind "{kind}"',
            where=where,
            expected=f"one of: {', '.join(sorted(ATTACKS))}",
            got=kind,
            remedy=f'did you mean "{near[0]}"?' if near else "docs/attacks.md says what each kind does",
        )
    found: type[Attack] = ATTACKS[kind]
    return found

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
        "uniform": "shieldwall.attacks.uniform:Uniform",
        "scale": "shieldwall.attacks.scale:Scale",
        "constant": "shieldwall.attacks.constant:Constant",
        "bias": "shieldwall.attacks.bias:Bias",
        "replay": "shieldwall.attacks.replay:Replay",
        "stale_weights": "shieldwall.attacks.stale_weights:StaleWeights",
        "permute": "shieldwall.attacks.permute:Permute",
        "alie": "shieldwall.attacks.alie:Alie",
        "inner_product": "shieldwall.attacks.inner_product:InnerProduct",
        "drift": "shieldwall.attacks.drift:Drift",
        "invisible_noise": "shieldwall.attacks.invisible_noise:InvisibleNoise",
        "backdoor": "shieldwall.attacks.backdoor:Backdoor",
        "own_weights": "shieldwall.attacks.own_weights:OwnWeights",
        "lazy": "shieldwall.attacks.lazy:Lazy",
        "wrong_gradient": "shieldwall.attacks.wrong_gradient:WrongGradient",
        "wrong_update": "shieldwall.attacks.wrong_update:WrongUpdate",
        "equivocate": "shieldwall.attacks.equivocate:Equivocate",
        "input_lie": "shieldwall.attacks.input_lie:InputLie",
        "false_accusation": "shieldwall.attacks.false_accusation:FalseAccusation",
        "collude": "shieldwall.attacks.collude:Collude",
        "lazy_checker": "shieldwall.attacks.lazy_checker:LazyChecker",
        "bit_flip": "shieldwall.attacks.bit_flip:BitFlip",
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

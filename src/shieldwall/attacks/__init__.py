"""What a bad worker may do, each limited to what such a worker sees, and the hook that does it.

read_attacks  ->  AttackSpec      the tables of a configuration, checked
place_attacks ->  PlacedAttack    held against a run: who the attacker is
AttackHook                        on each worker's host; carries its attacks out
AttackLog                         what was really changed; for the experiment alone
"""

from __future__ import annotations

from shieldwall.attacks.aim import Aim, PlacedAttack
from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.engine import AttackHook
from shieldwall.attacks.kinds import ATTACKS, find_attack
from shieldwall.attacks.listing import describe, list_attacks, render_attacks
from shieldwall.attacks.log import AttackLog
from shieldwall.attacks.place import place_attacks
from shieldwall.attacks.spec import AttackSpec, read_attack, read_attacks

__all__ = [
    "ATTACKS",
    "Aim",
    "Attack",
    "AttackHook",
    "AttackLog",
    "AttackSpec",
    "PlacedAttack",
    "Turn",
    "describe",
    "find_attack",
    "list_attacks",
    "place_attacks",
    "read_attack",
    "read_attacks",
    "render_attacks",
]

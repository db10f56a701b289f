"""A host's part in the duplicate check: signed headers for what it makes, and a comparison for what it checks."""

from shieldwall.verify.duplicate.guard import DuplicateGuard

__all__ = ["DuplicateGuard"]

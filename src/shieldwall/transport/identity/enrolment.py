"""What a joiner asks and what a run answers, as plain data with one form in bytes.

The request proves both keys: the certificate request is signed with the TLS key, and the whole of the request with the
Ed25519 key that the joiner will sign its work with. It holds no private key and no secret of the ticket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.errors import EnrolmentError

LONGEST_BYTES = 65536
"""Of a request or an answer; looked at before anything is read."""
_DEEPEST = 8


class Purpose(StrEnum):
    """What a certificate is asked for."""

    ENROLMENT = "enrolment"
    """By a guest, who wants to become a member."""
    RENEWAL = "renewal"
    """By a member, whose certificate is about to end."""


@dataclass(frozen=True, kw_only=True)
class EnrolmentStatement:
    """What the joiner signs: all of its request, so that no part of it can be used for another one."""

    kind: ClassVar[str] = "enrolment"

    purpose: Purpose
    run: str
    """The run's name, from the ticket."""
    authority: str
    """Fingerprint of the run's authority."""
    csr: bytes
    """Certificate signing request (PKCS#10, DER) for the joiner's TLS key, signed with it."""
    wish: str
    """The name that it would like; "" for any."""
    version: str
    """Of the joiner's package."""
    time: datetime
    """The joiner's clock, in UTC and to the second."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the joiner says of its machine; plain data, believed by nobody yet."""

    def to_json(self) -> dict[str, Any]:
        """Plain data that holds all of it."""
        return {
            "purpose": self.purpose.value,
            "run": self.run,
            "authority": self.authority,
            "csr": self.csr.hex(),
            "wish": self.wish,
            "version": self.version,
            "time": self.time.isoformat(),
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, content: Any) -> EnrolmentStatement:
        """The inverse of `to_json`.

        Raises:
            ValueError: it is something else.
        """
        words = _fields(content, ("purpose", "run", "authority", "csr", "wish", "version", "time"), "facts")
        facts = content["facts"]
        if not isinstance(facts, dict) or not _is_shallow(facts, _DEEPEST):
            raise ValueError(f"facts that are no mapping, or nested deeper than {_DEEPEST}")
        return cls(
            purpose=Purpose(words["purpose"]),
            run=words["run"],
            authority=words["authority"],
            csr=bytes.fromhex(words["csr"]),
            wish=words["wish"],
            version=words["version"],
            time=_time(words["time"]),
            facts=facts,
        )


@dataclass(frozen=True, kw_only=True)
class EnrolmentRequest:
    """A signed wish for a certificate. Nothing of it is known to be true until `admit` or `renew` has checked it."""

    statement: EnrolmentStatement
    signing_key: bytes
    """Ed25519 public key, 32 bytes."""
    signature: bytes
    """Of the statement, with that key; 64 bytes."""

    def to_bytes(self) -> bytes:
        """The one form in which it travels."""
        content = {
            "statement": self.statement.to_json(),
            "signing_key": self.signing_key.hex(),
            "signature": self.signature.hex(),
        }
        return canonical_bytes(content)

    @classmethod
    def from_bytes(cls, content: bytes) -> EnrolmentRequest:
        """The inverse of `to_bytes`.

        Raises:
            EnrolmentError: SW-T221; it is something else, or too long.
        """
        try:
            parsed = _parsed(content)
            words = _fields(parsed, ("signing_key", "signature"), "statement")
            request = cls(
                statement=EnrolmentStatement.from_json(parsed["statement"]),
                signing_key=bytes.fromhex(words["signing_key"]),
                signature=bytes.fromhex(words["signature"]),
            )
            _check_form(request.to_bytes(), content)
        except ValueError as error:
            raise bad_request("a request in the form of this version", str(error)) from error
        return request


@dataclass(frozen=True, kw_only=True)
class EnrolmentAnswer:
    """What a run gives to whom it lets in."""

    name: str
    """What the run calls it; may be another than it wished."""
    chain_pem: bytes
    """Its certificate, and that of the run's authority after it, as text."""
    expires: datetime
    """When the certificate ends, in UTC; it is to be renewed before."""

    def to_bytes(self) -> bytes:
        """The one form in which it travels."""
        content = {"name": self.name, "chain": self.chain_pem.decode("ascii"), "expires": self.expires.isoformat()}
        return canonical_bytes(content)

    @classmethod
    def from_bytes(cls, content: bytes) -> EnrolmentAnswer:
        """The inverse of `to_bytes`.

        Raises:
            EnrolmentError: SW-T229; it is something else, or too long.
        """
        try:
            words = _fields(_parsed(content), ("name", "chain", "expires"))
            answer = cls(name=words["name"], chain_pem=words["chain"].encode("ascii"), expires=_time(words["expires"]))
            _check_form(answer.to_bytes(), content)
        except ValueError as error:
            raise bad_answer("an answer in the form of this version", str(error)) from error
        return answer


def bad_request(expected: str, got: str) -> EnrolmentError:
    """A request for a certificate that cannot be taken as it is."""
    return EnrolmentError(
        "SW-T221",
        "a request to join is not what it should be",
        expected=expected,
        got=got,
        remedy="use the same version of shieldwall as the run, and a ticket of this very run",
    )


def bad_answer(expected: str, got: str) -> EnrolmentError:
    """An answer of a run that cannot be taken as it is."""
    return EnrolmentError(
        "SW-T229",
        "the run's answer is not what it should be",
        expected=expected,
        got=got,
        remedy="use the same version of shieldwall as the run; if it is the same, tell whoever owns the run",
    )


def _parsed(content: bytes) -> Any:
    if len(content) > LONGEST_BYTES:
        raise ValueError(f"{len(content):,} bytes, more than {LONGEST_BYTES:,}")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("data that are nested too deeply") from error


def _fields(content: Any, texts: tuple[str, ...], *others: str) -> dict[str, str]:
    """The fields of `content` that must be texts; it must have these and `others` and no more."""
    if not isinstance(content, dict) or set(content) != {*texts, *others}:
        raise ValueError(f"something without exactly the fields {', '.join((*texts, *others))}")
    for name in texts:
        if not isinstance(content[name], str):
            raise ValueError(f"{name} that is no text")
    return {name: content[name] for name in texts}


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None or moment.utcoffset() or moment.microsecond:
        raise ValueError("a time that is not in UTC, to the second")
    return moment


def _is_shallow(content: Any, levels: int) -> bool:
    if not isinstance(content, (dict, list)):
        return True
    inner = content.values() if isinstance(content, dict) else content
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inner)


def _check_form(form: bytes, content: bytes) -> None:
    """One content, one form: what was signed is what was sent."""
    if form != content:
        raise ValueError("another form of the same content")

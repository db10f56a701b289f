"""The authority: made once, loaded as it was, refused where it is not what was written."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from gates import HOUR, NOW

from shieldwall.core.errors import IdentityError, StorageError
from shieldwall.transport.identity.authority import AUTHORITY_FILE, Authority
from shieldwall.transport.identity.certificates import authority_certificate, new_key, pem, private_pem


def test_it_is_the_same_after_a_restart(tmp_path: Path) -> None:
    made = Authority.create(tmp_path)
    loaded = Authority.load(tmp_path)
    assert loaded.fingerprint == made.fingerprint
    assert loaded.certificate_pem == made.certificate_pem
    x509.load_pem_x509_certificate(
        loaded.issue_worker("oslo", new_key().public_key(), NOW, NOW + HOUR)
    ).verify_directly_issued_by(made.certificate)


def test_its_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    Authority.create(tmp_path)
    path = tmp_path / AUTHORITY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="SW-T211") as refused:
        Authority.create(tmp_path)
    assert "keys are never overwritten" in str(refused.value)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [AUTHORITY_FILE]


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="SW-S101"):
        Authority.create(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_what_is_no_authority_is_refused(tmp_path: Path) -> None:
    key, other = new_key(), new_key()
    path = tmp_path / AUTHORITY_FILE
    own = private_pem(key) + pem(authority_certificate("a", key))

    def refused() -> str:
        with pytest.raises(IdentityError, match="SW-T211: this key file cannot be used") as error:
            Authority.load(tmp_path)
        assert str(path) in str(error.value)
        assert "PRIVATE" not in str(error.value)
        return error.value.got

    assert refused() == "No such file or directory"
    path.touch(0o600)
    for content in (
        b"",
        b"\x00" * 100,
        own[:-40],
        private_pem(key),
        pem(authority_certificate("a", key)),
        private_pem(ec.generate_private_key(ec.SECP384R1())) + pem(authority_certificate("a", key)),
    ):
        path.write_bytes(content)
        assert refused() in ("something else", "a key and the certificate of another one")
    path.write_bytes(private_pem(other) + pem(authority_certificate("a", key)))
    assert refused() == "a key and the certificate of another one"
    path.write_bytes(own)
    Authority.load(tmp_path)
    path.chmod(0o640)
    assert refused() == "mode 0640: others may read it"
    path.unlink()
    path.mkdir()
    assert refused() == "a folder"


def test_the_servers_certificate_holds_for_its_name(tmp_path: Path) -> None:
    """Judged by a verifier that shares nothing with what made it."""
    authority = Authority.create(tmp_path)
    chain = x509.load_pem_x509_certificates(authority.issue_server().certificate_chain_pem)
    store = verification.Store([authority.certificate])
    builder = verification.PolicyBuilder().store(store).time(NOW)
    assert builder.build_server_verifier(x509.DNSName("shieldwall")).verify(chain[0], []) == chain
    with pytest.raises(verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("elsewhere")).verify(chain[0], [])
    assert authority.issue_server().private_key_pem != authority.issue_server().private_key_pem
    assert {each.name for each in tmp_path.iterdir()} == {AUTHORITY_FILE}, "the server's key is in memory alone"


def test_a_workers_certificate_is_short_back_dated_and_for_its_own_name_alone(tmp_path: Path) -> None:
    authority, key = Authority.create(tmp_path), new_key()
    leaf, root = x509.load_pem_x509_certificates(authority.issue_worker("oslo", key.public_key(), NOW, NOW + HOUR))
    assert root == authority.certificate
    assert leaf.public_key() == key.public_key()
    assert [each.value for each in leaf.subject] == ["oslo"]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert leaf.not_valid_after_utc == NOW + HOUR
    assert timedelta(minutes=5) < NOW - leaf.not_valid_before_utc < HOUR
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    store = verification.Store([authority.certificate])
    builder = verification.PolicyBuilder().store(store).time(NOW)
    assert builder.build_server_verifier(x509.DNSName("oslo.worker.shieldwall")).verify(leaf, [])
    for other in ("shieldwall", "bergen.worker.shieldwall", "worker.shieldwall"):
        with pytest.raises(verification.VerificationError):
            builder.build_server_verifier(x509.DNSName(other)).verify(leaf, [])
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign

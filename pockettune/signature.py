"""Signatures of bundles (``spec/bundle.md`` 1): ECDSA on P-256 over the canonical manifest.

The signature is not part of the bundle's id: an unsigned bundle and a signed one are the same
bundle. Signing the same bytes gives the same signature (RFC 6979).
"""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from pockettune.errors import BundleSignatureInvalid, ConfigInvalid
from pockettune.files import storage_errors

__all__ = ["is_signed_by", "read_private_key", "read_public_key", "require_signature", "sign"]

_BYTES = 32
_PRIVATE = "a PEM file of an unencrypted private key on the curve P-256"
_PUBLIC = "a PEM file of a public key on the curve P-256"


def sign(canonical: bytes, key: ec.EllipticCurvePrivateKey) -> str:
    """The manifest's ``signature``: base64 of r and s, 32 bytes each, big-endian."""
    der = key.sign(canonical, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return base64.b64encode(r.to_bytes(_BYTES) + s.to_bytes(_BYTES)).decode("ascii")


def is_signed_by(canonical: bytes, signature: str, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether ``signature`` (as ``sign`` writes it) is of these bytes by the key's owner."""
    raw = base64.b64decode(signature)
    if len(raw) != 2 * _BYTES:
        return False
    der = encode_dss_signature(int.from_bytes(raw[:_BYTES]), int.from_bytes(raw[_BYTES:]))
    try:
        key.verify(der, canonical, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def require_signature(
    folder: Path, canonical: bytes, signature: str, key: ec.EllipticCurvePublicKey
) -> None:
    """Raises BundleSignatureInvalid unless the bundle is signed by the key's owner."""
    if not signature:
        raise BundleSignatureInvalid(folder, "it is not signed")
    if not is_signed_by(canonical, signature, key):
        raise BundleSignatureInvalid(folder, "another key signed it, or other bytes")


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A key to sign with. Raises IoFailed, or ConfigInvalid for anything but a P-256 key."""
    with storage_errors("read", path):
        data = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid("key", str(path), _PRIVATE) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigInvalid("key", str(path), _PRIVATE)
    return key


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """A key to check with. Raises IoFailed, or ConfigInvalid for anything but a P-256 key."""
    with storage_errors("read", path):
        data = path.read_bytes()
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid("key", str(path), _PUBLIC) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigInvalid("key", str(path), _PUBLIC)
    return key

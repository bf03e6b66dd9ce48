"""Signatures of bundles: the published vector, and what a key's owner and others can do."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pockettune.bundle import open_bundle
from pockettune.cli import main
from pockettune.errors import BundleSignatureInvalid, PocketTuneError
from pockettune.signature import is_signed_by, sign
from pockettune.vectors.sdk import KEY

VECTORS = Path(__file__).parents[1] / "spec/vectors"
EXPECTED = json.loads((VECTORS / "sdk/signatures.json").read_text())
# RFC 6979, A.2.5, SHA-256, message "sample".
SAMPLE = (
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
)


def public_key(text: str) -> ec.EllipticCurvePublicKey:
    key = serialization.load_der_public_key(base64.b64decode(text))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_signing_gives_the_published_signature() -> None:
    assert base64.b64decode(sign(b"sample", KEY)).hex().upper() == SAMPLE


@pytest.mark.parametrize("row", EXPECTED["messages"])
def test_messages(row: dict[str, Any]) -> None:
    message = base64.b64decode(row["message"])
    assert is_signed_by(message, row["signature"], public_key(row["key"])) is row["valid"]


@pytest.mark.parametrize("row", EXPECTED["bundles"])
def test_bundles(row: dict[str, Any]) -> None:
    folder, key = VECTORS / row["bundle"], public_key(row["key"])
    if row["code"] is None:
        open_bundle(folder, key=key)
        return
    with pytest.raises(PocketTuneError) as caught:
        open_bundle(folder, key=key)
    assert caught.value.code == row["code"]
    assert isinstance(caught.value, BundleSignatureInvalid)


def pem(folder: Path, key: Any) -> tuple[Path, Path]:
    private, public = folder / "private.pem", folder / "public.pem"
    encoding = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(VECTORS / "bundle", bundle)
    private, public = pem(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    check = ["verify", "--bundle", str(bundle), "--key", str(public), "--json"]
    assert main(check) == 16
    assert "bundle_signature_invalid" in capsys.readouterr().err
    before = open_bundle(bundle).bundle_id
    assert main(["sign", "--bundle", str(bundle), "--key", str(private), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle_id"] == before
    assert main(check) == 0
    assert json.loads(capsys.readouterr().out)["signed"] is True
    # Signing again, by the same key, gives the same bytes.
    signed = (bundle / "manifest.json").read_bytes()
    assert main(["sign", "--bundle", str(bundle), "--key", str(private)]) == 0
    assert (bundle / "manifest.json").read_bytes() == signed


@pytest.mark.parametrize("kind", ["text", "curve", "rsa", "missing", "public"])
def test_a_wrong_key(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(VECTORS / "bundle", bundle)
    before = (bundle / "manifest.json").read_bytes()
    key: Any = ec.generate_private_key(ec.SECP384R1())
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private, public = pem(tmp_path, key)
    if kind == "text":
        private.write_text("no key")
    if kind == "missing":
        private.unlink()
    used = public if kind == "public" else private
    status = main(["sign", "--bundle", str(bundle), "--key", str(used)])
    assert status == (3 if kind == "missing" else 55)
    assert capsys.readouterr().err.count("\n") == 1
    assert (bundle / "manifest.json").read_bytes() == before

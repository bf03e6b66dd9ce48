"""Bundles: what an export writes and a device reads (``spec/bundle.md``).

bundle = open_bundle(folder)              # every byte checked, or a typed error
bundle.manifest["training"]["steps"]
bundle.path("programs.pte")
bundle.initial_state()                    # name -> array
open_bundle(folder, key=public_key)       # and signed by the key's owner

write_bundle(folder, manifest, files)     # all of it under the final name, or nothing
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pockettune import strict_json, tensor_file
from pockettune.errors import (
    BundleCorrupt,
    BundleFormatUnsupported,
    BundleManifestInvalid,
    BundleNotFound,
    BundlePathInvalid,
    IoFailed,
)
from pockettune.files import open_plain, storage_errors, sync_folder, write_atomically
from pockettune.manifest import file_name_fault, reference_faults, structure_faults

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["FORMAT", "Bundle", "encode_manifest", "open_bundle", "sign_bundle", "write_bundle"]

FORMAT = 1

_MANIFEST = "manifest.json"
_PREFIX = re.compile(rb'\{"bundle_id":"([0-9a-f]{64})","signature":"([A-Za-z0-9+/]{85}[AQgw]==)?",')
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle; ``manifest`` cannot be changed (mappings are read-only, lists tuples)."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def bundle_id(self) -> str:
        """64 lower-case hexadecimal digits that stand for every byte of the bundle."""
        return str(self.manifest["bundle_id"])

    def path(self, name: str) -> Path:
        """Where a file lies that the manifest names; ``KeyError`` for any other name."""
        if name not in self.manifest["files"]:
            raise KeyError(name)
        return self.folder / name

    def initial_state(self) -> dict[str, NDArray[Any]]:
        """The first value of every tensor of the state; those from files are read-only."""
        state: dict[str, NDArray[Any]] = {}
        for name, tensor in self.manifest["tensors"].items():
            if tensor["file"] is None:
                state[name] = np.zeros(tensor["shape"], tensor["dtype"])
            else:
                expected = {name: (tensor["dtype"], tuple(tensor["shape"]))}
                state |= tensor_file.read(self.path(tensor["file"]), expected)
        return state


def open_bundle(
    folder: Path, *, verify: bool = True, key: ec.EllipticCurvePublicKey | None = None
) -> Bundle:
    """Opens a bundle by the rules of ``spec/bundle.md``, in the order given there.

    ``verify=False`` leaves out the hashes of the files (for those who have just checked them).
    With a ``key`` the bundle must be signed by its owner, or it is ``BundleSignatureInvalid``.
    Raises ``BundleNotFound``, ``BundleManifestInvalid``, ``BundleFormatUnsupported``,
    ``BundleCorrupt``, ``BundlePathInvalid``, ``SafetensorsInvalid``, ``TensorMismatch`` or
    ``IoFailed``.
    """
    manifest = _read_manifest(folder, key)
    _check_manifest(folder, manifest)
    for name, entry in manifest["files"].items():
        _check_size(folder, name, entry["bytes"])
    if verify:
        for name, entry in manifest["files"].items():
            _check_hash(folder / name, entry["sha256"])
    for name, tensor in manifest["tensors"].items():
        if tensor["file"] is not None:
            header = tensor_file.read_header(folder / tensor["file"])
            tensor_file.check_entries(header, {name: (tensor["dtype"], tuple(tensor["shape"]))})
    return Bundle(folder, _frozen(manifest))


def write_bundle(
    folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Path | bytes]
) -> str:
    """Writes a bundle and returns its id.

    ``files`` maps names to contents, or to a file that is copied. Format, files, signature and id
    are filled in here. Everything goes to a hidden sibling folder first, is synced and renamed; an
    older bundle of that name is replaced, any other folder is not. Raises
    ``BundleManifestInvalid``, ``BundlePathInvalid``, ``SafetensorsInvalid`` or ``TensorMismatch``
    for a manifest that could not be opened again, ``DiskFull`` or ``IoFailed``; then nothing new
    bears the final name.
    """
    _check_names(files)
    with storage_errors("create", folder):
        if folder.exists() and not (folder / _MANIFEST).exists() and any(folder.iterdir()):
            raise IoFailed("create", folder, "a folder of that name holds something else")
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        with storage_errors("write", folder):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            entries = {name: _store(source, temporary / name) for name, source in files.items()}
            text = _encoded(folder, {**manifest, "format": FORMAT, "files": entries})
            _store(text, temporary / _MANIFEST)
            written = open_bundle(temporary, verify=False)
            for path, _, _ in os.walk(temporary):
                sync_folder(Path(path))
            _rename_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written.bundle_id


def encode_manifest(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of manifest.json, with the id that follows from all the other members.

    Raises ``ValueError`` or ``TypeError`` for what JSON cannot hold.
    """
    members = {key: manifest[key] for key in manifest if key not in ("bundle_id", "signature")}
    rest = strict_json.encode(members)[1:] + b"\n"
    bundle_id = hashlib.sha256(b"{" + rest).hexdigest().encode("ascii")
    return b'{"bundle_id":"' + bundle_id + b'","signature":"",' + rest


def sign_bundle(folder: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Signs a bundle, in place of any signature before; its id stays.

    Raises what ``open_bundle`` raises for a bundle that is not whole, ``DiskFull`` or ``IoFailed``.
    """
    from pockettune.signature import sign

    open_bundle(folder)
    prefix = _opening(folder)
    rest = prefix.string[prefix.end() :]
    signed = b'{"bundle_id":"%s","signature":"%s",' % (
        prefix[1],
        sign(b"{" + rest, key).encode("ascii"),
    )
    write_atomically(folder / _MANIFEST, signed + rest)


def _opening(folder: Path) -> re.Match[bytes]:
    """The manifest's prefix, which identifies the bytes after it in the matched text."""
    path = folder / _MANIFEST
    try:
        with open_plain(path) as file:
            text = file.read(strict_json.LONGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleNotFound(folder) from None
    except OSError as error:
        raise IoFailed("read", path, error.strerror or error) from error
    if len(text) > strict_json.LONGEST:
        raise BundleManifestInvalid(folder, "", f"more than {strict_json.LONGEST} bytes")
    prefix = _PREFIX.match(text)
    if prefix is None:
        raise BundleManifestInvalid(folder, "", "it does not begin with bundle_id and signature")
    digest = hashlib.sha256(b"{")
    digest.update(memoryview(text)[prefix.end() :])
    if digest.hexdigest() != prefix[1].decode("ascii"):
        raise BundleCorrupt(path, "its contents do not fit its bundle_id")
    return prefix


def _read_manifest(folder: Path, key: ec.EllipticCurvePublicKey | None) -> Any:
    """The parsed manifest, its identity and, with a key, its signature checked."""
    prefix = _opening(folder)
    if key is not None:
        from pockettune.signature import require_signature

        canonical = b"{" + prefix.string[prefix.end() :]
        require_signature(folder, canonical, (prefix[2] or b"").decode("ascii"), key)
    try:
        return strict_json.decode(prefix.string)
    except ValueError as error:
        raise BundleManifestInvalid(folder, "", str(error)) from None


def _check_manifest(folder: Path, manifest: Any) -> None:
    found = manifest.get("format")
    if type(found) is not int:
        raise BundleManifestInvalid(folder, "format", "it is not an integer")
    if found != FORMAT:
        raise BundleFormatUnsupported(folder, found, [FORMAT])
    for member, reason in structure_faults(manifest):
        raise BundleManifestInvalid(folder, member, reason)
    _check_names(manifest["files"])
    for member, reason in reference_faults(manifest):
        raise BundleManifestInvalid(folder, member, reason)


def _check_names(files: Mapping[str, Any]) -> None:
    for name in files:
        reason = file_name_fault(name)
        if reason is not None:
            raise BundlePathInvalid(name, reason)


def _check_size(folder: Path, name: str, size: int) -> None:
    path = folder
    try:
        for component in name.split("/"):
            path = path / component
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise BundlePathInvalid(name, f"{component} is a symbolic link")
    except (FileNotFoundError, NotADirectoryError):
        raise BundleCorrupt(path, "it is missing") from None
    except OSError as error:
        raise IoFailed("read", path, error.strerror or error) from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleCorrupt(path, "it is not a plain file")
    if status.st_size != size:
        raise BundleCorrupt(path, f"it has {status.st_size} bytes, not {size}")


def _check_hash(path: Path, expected: str) -> None:
    with storage_errors("read", path), open_plain(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise BundleCorrupt(path, f"its SHA-256 is {found}, not {expected}")


def _encoded(folder: Path, manifest: Mapping[str, Any]) -> bytes:
    try:
        return encode_manifest(manifest)
    except (ValueError, TypeError) as error:
        raise BundleManifestInvalid(folder, "", str(error)) from error


def _store(source: Path | bytes, target: Path) -> dict[str, Any]:
    """Writes and syncs one file; returns its entry in ``files``."""
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        for chunk in _chunks(source):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "bytes": size}


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with storage_errors("read", source), open_plain(source) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _rename_folder(temporary: Path, folder: Path) -> None:
    """Gives the finished folder its name; one that bears it is moved aside first, then deleted."""
    replaced = folder.with_name(f".{folder.name}.replaced")
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    temporary.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value

"""Hostile bundles: each breaks one rule of ``spec/bundle.md``, sections 1 to 3.

Where the manifest alone is at fault the folder holds nothing else: a reader has to refuse it before
it looks for the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pockettune import strict_json, tensor_file
from pockettune.bundle import encode_manifest
from pockettune.random import normal
from pockettune.vectors import classification
from pockettune.vectors.golden import FILES, manifest, with_rest
from pockettune.vectors.largest import filled
from pockettune.vectors.manifest_edits import INVALID, edited

__all__ = ["Case", "bundles"]

_PROGRAM = "programs.pte"
_STATE = "state/adapter.safetensors"


@dataclass(frozen=True, slots=True)
class Case:
    """A folder: files and links (name -> target), and the code with which it is refused."""

    code: str
    files: dict[str, bytes]
    links: dict[str, str] = field(default_factory=dict)


def bundles() -> dict[str, Case]:
    """Name -> hostile bundle."""
    cases = {"not_found": Case("bundle_not_found", {"programs.pte": FILES[_PROGRAM]})}
    for name, text in _bad_bytes().items():
        cases[name] = Case("bundle_manifest_invalid", {"manifest.json": text})
    for name, (member, value) in INVALID.items():
        text = encode_manifest(edited(manifest(), member, value))
        cases[name] = Case("bundle_manifest_invalid", {"manifest.json": text})
    for name, (member, value) in classification.INVALID.items():
        text = encode_manifest(edited(classification.manifest(), member, value))
        cases[name] = Case("bundle_manifest_invalid", {"manifest.json": text})
    without = classification.manifest()
    del without["classification"]
    text = encode_manifest(without)
    cases["classification_missing"] = Case("bundle_manifest_invalid", {"manifest.json": text})
    for version in (0, 2, 2**40):
        text = encode_manifest({**manifest(), "format": version})
        cases[f"format_{version}"] = Case("bundle_format_unsupported", {"manifest.json": text})
    for label, file_name in _bad_names():
        entry = {"sha256": "0" * 64, "bytes": 1}
        text = encode_manifest(edited(manifest(), ("files", file_name), entry))
        cases[f"name_{label}"] = Case("bundle_path_invalid", {"manifest.json": text})
    return cases | _bad_files() | _bad_tensor_files()


def _bad_bytes() -> dict[str, bytes]:
    """Manifests whose bytes break section 1; the id fits wherever there is one."""
    good = encode_manifest(manifest())
    bundle_id = json.loads(good)["bundle_id"].encode()
    rest = good.partition(b'"signature":"",')[2]
    numbers = {"infinity": b"Infinity", "nan": b"NaN", "overflow": b"1e999", "hexadecimal": b"0x1"}
    numbers |= {"endless": b"9" * 400, "leading_zero": b"01", "plus": b"+1", "bare_point": b"1."}
    return {
        "empty": b"",
        "byte_order_mark": b"\xef\xbb\xbf" + good,
        "utf16": good.decode().encode("utf-16-le"),
        "prefix_space": good.replace(b'{"bundle_id"', b'{ "bundle_id"'),
        "prefix_order": b'{"signature":"","bundle_id":"' + bundle_id + b'",' + rest,
        "prefix_only": good.partition(b'"signature"')[0],
        "prefix_id_upper_case": good.replace(bundle_id, bundle_id.upper()),
        "prefix_id_short": good.replace(bundle_id, bundle_id[:-1]),
        "prefix_id_empty": good.replace(bundle_id, b""),
        "prefix_signature_short": good.replace(b'"signature":""', b'"signature":"QUJD"'),
        "prefix_signature_letters": good.replace(
            b'"signature":""', b'"signature":"' + b"-_" * 43 + b'=="'
        ),
        "prefix_signature_null": good.replace(b'"signature":""', b'"signature":null'),
        "json_nothing": with_rest(b""),
        "json_truncated": with_rest(rest[:-3]),
        "json_two_documents": with_rest(rest + b"{}"),
        "json_bytes_after": with_rest(rest + b"\0"),
        "json_trailing_comma": with_rest(rest.rstrip()[:-1] + b",}"),
        "json_comment": with_rest(b"/**/" + rest),
        "json_single_quotes": with_rest(rest.replace(b'"A golden bundle"', b"'A golden bundle'")),
        "json_control_character": with_rest(rest.replace(b"A golden", b"A\ngolden")),
        "json_escape_unknown": with_rest(rest.replace(b"A golden", b"A\\xgolden")),
        "json_lone_surrogate": with_rest(rest.replace(b"A golden", b"A\\udc00golden")),
        "json_raw_surrogate": with_rest(rest.replace(b"A golden", b"A\xed\xa0\x80golden")),
        "json_not_utf8": with_rest(rest.replace(b"A golden", b"A\xffgolden")),
        "json_overlong_utf8": with_rest(rest.replace(b"A golden", b"A\xc0\xafgolden")),
        "json_cut_utf8": with_rest(rest.replace(b"A golden bundle", b"A golden\xe2\x82")),
        "duplicate_member": with_rest(b'"name":"another",' + rest),
        "duplicate_member_escaped": with_rest(b'"n\\u0061me":"another",' + rest),
        "duplicate_bundle_id": with_rest(b'"bundle_id":"",' + rest),
        "duplicate_file": with_rest(rest.replace(b'"files":{', b'"files":{"programs.pte":{},')),
        "duplicate_unknown": with_rest(b'"unknown":{"a":1,"a":1},' + rest),
        "values_65537": filled(manifest(), strict_json.MOST_VALUES + 1, 0x8000),
        "text_1048577": filled(manifest(), 1000, strict_json.MOST_TEXT + 1),
        "depth_33": with_rest(b'"unknown":' + b"[" * 32 + b"]" * 32 + b"," + rest),
        "depth_100000": with_rest(b'"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"," + rest),
        "depth_unclosed": with_rest(b'"unknown":' + b'{"a":[' * 50_000),
        **{
            f"number_{name}": with_rest(b'"unknown":' + text + b"," + rest)
            for name, text in numbers.items()
        },
    }


def _bad_names() -> Iterator[tuple[str, str]]:
    yield "empty", ""
    yield "dot", "."
    yield "parent", ".."
    yield "escapes", "../programs.pte"
    yield "escapes_inside", "state/../../programs.pte"
    yield "absolute", "/programs.pte"
    yield "folder", "state/"
    yield "double_slash", "state//adapter.safetensors"
    yield "current_folder", "./programs.pte"
    yield "five_parts", "a/b/c/d/e"
    yield "too_long", "a" * 101 + "/" + "b" * 99
    yield "hidden", ".hidden"
    yield "dash", "-rf"
    yield "space", "programs 2.pte"
    yield "backslash", "state\\adapter.safetensors"
    yield "drive", "C:programs.pte"
    yield "newline_after", "programs2.pte\n"
    yield "zero_byte", "programs.pte\0.txt"
    yield "not_ascii", "pr\u00f6grams.pte"
    yield "percent", "%2e%2e"
    yield "manifest", "manifest.json"


def _bad_files() -> dict[str, Case]:
    """Bundles whose manifest is right and whose files are not what it says."""
    good = {"manifest.json": encode_manifest(manifest()), **FILES}
    program = FILES[_PROGRAM]
    flipped = bytes([program[0] ^ 1]) + program[1:]

    def changed(name: str, data: bytes | None) -> dict[str, bytes]:
        return {key: value for key, value in {**good, name: data}.items() if value is not None}

    text = good["manifest.json"]
    bundle_id = json.loads(text)["bundle_id"]
    other_id = ("0" if bundle_id[0] != "0" else "1") + bundle_id[1:]
    corrupt = {
        "manifest_other_id": changed(
            "manifest.json", text.replace(bundle_id.encode(), other_id.encode())
        ),
        "manifest_flipped": changed("manifest.json", text.replace(b"A golden", b"a golden")),
        "manifest_longer": changed("manifest.json", text + b"\n"),
        "file_missing": changed(_PROGRAM, None),
        "file_empty": changed(_PROGRAM, b""),
        "file_short": changed(_PROGRAM, program[:-1]),
        "file_long": changed(_PROGRAM, program + b"\0"),
        "file_flipped": changed(_PROGRAM, flipped),
        "file_deep_flipped": changed(_STATE, FILES[_STATE][:-1] + b"\x01"),
        "file_is_folder": {**changed(_PROGRAM, None), f"{_PROGRAM}/keep": program},
        "folder_is_file": {**changed(_STATE, None), "state": FILES[_STATE]},
    }
    cases = {name: Case("bundle_corrupt", files) for name, files in corrupt.items()}
    cases["file_is_link"] = Case(
        "bundle_path_invalid",
        {**changed(_PROGRAM, None), "copy.pte": program},
        {_PROGRAM: "copy.pte"},
    )
    cases["folder_is_link"] = Case(
        "bundle_path_invalid",
        {**changed(_STATE, None), "copy/adapter.safetensors": FILES[_STATE]},
        {"state": "copy"},
    )
    return cases


def _bad_tensor_files() -> dict[str, Case]:
    """Bundles with the right hashes, whose initial values are not those of the state."""
    values = normal(0, 5, 0, (14,))
    contents = {
        "tensors_not_a_file_of_tensors": ("safetensors_invalid", b"{}"),
        "tensors_longer": ("safetensors_invalid", FILES[_STATE] + b"\0"),
        "tensors_missing": ("tensor_mismatch", tensor_file.encode({"another": values})),
        "tensors_shape": ("tensor_mismatch", tensor_file.encode({"adapter": values.reshape(2, 7)})),
        "tensors_size": ("tensor_mismatch", tensor_file.encode({"adapter": values[:13]})),
        "tensors_dtype": (
            "tensor_mismatch",
            tensor_file.encode({"adapter": values.astype("int32")}),
        ),
    }
    return {
        name: Case(
            code,
            {
                "manifest.json": encode_manifest(manifest({**FILES, _STATE: data})),
                **FILES,
                _STATE: data,
            },
        )
        for name, (code, data) in contents.items()
    }

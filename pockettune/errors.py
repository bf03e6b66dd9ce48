"""Everything that can go wrong for a user, as one tree.

Each leaf has the ``code`` and ``exit_status`` of ``spec/errors.json`` (its name is the code in
CamelCase, unless it is a kind of another's), takes the facts, and writes one sentence: what
happened, the value, the valid ones, and what to do. Commands print the sentence and exit with the
status; nobody sees a traceback.

PocketTuneError
├── Bug                           1
├── Usage                         2
├── StorageError
│   ├── IoFailed                  3
│   └── DiskFull                  4
├── Interrupted                   5
├── OutOfMemory                   6
├── BundleError
│   ├── BundleNotFound           10
│   ├── BundleManifestInvalid    11
│   ├── BundleFormatUnsupported  12
│   ├── BundleCorrupt            13
│   ├── BundlePathInvalid        14
│   ├── EngineVersionMismatch    15
│   └── BundleSignatureInvalid   16
├── TensorError
│   ├── SafetensorsInvalid       20
│   ├── TensorMismatch           21
│   └── StateMismatch            22
├── ProgramError
│   ├── ProgramMissing           30
│   ├── EngineFailed             31
│   ├── LossNotFinite            32
│   └── AdapterUnchanged         33
├── InputError
│   ├── PhotosUnreadable         40
│   ├── PhotosTooFew             41
│   └── PromptTooLong            42
├── ModelError
│   ├── ModelNotFound            50
│   ├── ModelComponentMissing    51
│   ├── ModelUnsupported         52
│   ├── ModelNotFinite           53
│   ├── CutIllegal               54
│   └── ConfigInvalid            55
├── ExportError
│   ├── ParityFailed             60
│   ├── LoweringFailed           61
│   └── ToolMissing              62
└── FederationError
    ├── UpdateInvalid            70
    │   └── UpdateOutOfRange     70
    ├── UpdateMismatch           71
    ├── RoundFailed              72
    ├── DataNotFound             73
    ├── DataInvalid              74
    └── PartitionImpossible      75
"""

# Names are those of spec/errors.json, facts rather than "...Error".
# ruff: noqa: N818

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Any, ClassVar, Self, TypeAlias

__all__ = [
    "AdapterUnchanged",
    "Bug",
    "BundleCorrupt",
    "BundleError",
    "BundleFormatUnsupported",
    "BundleManifestInvalid",
    "BundleNotFound",
    "BundlePathInvalid",
    "BundleSignatureInvalid",
    "ConfigInvalid",
    "CutIllegal",
    "DataInvalid",
    "DataNotFound",
    "DiskFull",
    "EngineFailed",
    "EngineVersionMismatch",
    "ExportError",
    "FederationError",
    "InputError",
    "Interrupted",
    "IoFailed",
    "LossNotFinite",
    "LoweringFailed",
    "ModelComponentMissing",
    "ModelError",
    "ModelNotFinite",
    "ModelNotFound",
    "ModelUnsupported",
    "OutOfMemory",
    "ParityFailed",
    "PartitionImpossible",
    "PhotosTooFew",
    "PhotosUnreadable",
    "PocketTuneError",
    "ProgramError",
    "ProgramMissing",
    "PromptTooLong",
    "RoundFailed",
    "SafetensorsInvalid",
    "StateMismatch",
    "StorageError",
    "TensorError",
    "TensorMismatch",
    "ToolMissing",
    "UpdateInvalid",
    "UpdateMismatch",
    "UpdateOutOfRange",
    "Usage",
    "error_types",
]

_Name: TypeAlias = str | PathLike[str]

_LONGEST_VALUE = 100


def _quoted(value: object) -> str:
    """A value as it stands in a sentence: printable ASCII, one line, never endless."""
    text = ascii(value) if isinstance(value, str) else ascii(str(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]}...{text[-1]}"


def _plain(value: object) -> str:
    """As :func:`_quoted`, without the quotes: for numbers, and texts of our own."""
    return _quoted(value)[1:-1]


def _listed(values: str | Iterable[object]) -> str:
    """The valid values of a sentence: a phrase as it is, or a list with commas."""
    return values if isinstance(values, str) else ", ".join(str(value) for value in values)


class PocketTuneError(Exception):
    """The base of every error that is a user's to solve. Only its leaves are raised."""

    code: ClassVar[str]
    exit_status: ClassVar[int]

    @classmethod
    def from_sentence(cls, sentence: str) -> Self:
        """The error around a sentence that another process has already written."""
        error = cls.__new__(cls)
        Exception.__init__(error, sentence)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of a leaf are facts, not the sentence, so the default would not unpickle.
        return (type(self).from_sentence, (str(self),))


class Bug(PocketTuneError):
    """A fault of PocketTune itself, to be reported. ``log`` holds what is needed to find it."""

    code, exit_status = "bug", 1

    def __init__(self, log: _Name) -> None:
        super().__init__(f"This is a bug of ours, not a mistake of yours; please report {log}.")


class Usage(PocketTuneError):
    """The command line is wrong."""

    code, exit_status = "usage", 2

    def __init__(self, reason: str, command: str) -> None:
        super().__init__(f"{reason}; run `{command} --help` to see what is valid.")


class StorageError(PocketTuneError):
    """The disk or the file system got in the way."""


class IoFailed(StorageError):
    """A file cannot be read or written. ``action`` is a verb: "read", "write", "create"."""

    code, exit_status = "io_failed", 3

    def __init__(self, action: str, path: _Name, reason: object) -> None:
        super().__init__(
            f"Cannot {action} {path}: {reason}; check that the path is right and that you may"
            f" {action} it."
        )


class DiskFull(StorageError):
    """The disk is full; nothing was lost and no half file bears a final name."""

    code, exit_status = "disk_full", 4

    def __init__(self, path: _Name) -> None:
        super().__init__(
            f"The disk filled up while {path} was written; nothing was lost: free some space and"
            " run the command again."
        )


class Interrupted(PocketTuneError):
    """Stopped by a signal; a later run goes on from the last state."""

    code, exit_status = "interrupted", 5

    def __init__(self, signal: str) -> None:
        super().__init__(
            f"Stopped by {signal}; run the same command again to go on from the last saved state."
        )


class OutOfMemory(PocketTuneError):
    """There is not enough memory; what was saved stays valid. ``remedy`` says how to need less."""

    code, exit_status = "out_of_memory", 6

    def __init__(self, remedy: str) -> None:
        super().__init__(
            f"There is not enough memory; what was saved stays valid: close other programs, or"
            f" {remedy}."
        )


class BundleError(PocketTuneError):
    """A bundle cannot be used."""


class BundleNotFound(BundleError):
    """The folder or its manifest.json does not exist."""

    code, exit_status = "bundle_not_found", 10

    def __init__(self, folder: _Name) -> None:
        super().__init__(
            f"There is no bundle at {folder}: it has no manifest.json; give a folder that"
            " `python -m export` has written."
        )


class BundleManifestInvalid(BundleError):
    """manifest.json breaks a rule of bundle.md. ``member`` is a dotted path, "" for all."""

    code, exit_status = "bundle_manifest_invalid", 11

    def __init__(self, folder: _Name, member: str, reason: str) -> None:
        where = f" at {_quoted(member)}" if member else ""
        super().__init__(
            f"The manifest of {folder} is not valid{where}: {reason}; export the bundle again."
        )


class BundleFormatUnsupported(BundleError):
    """The bundle's format number is not one that this version reads."""

    code, exit_status = "bundle_format_unsupported", 12

    def __init__(self, folder: _Name, found: int, supported: Iterable[int]) -> None:
        super().__init__(
            f"The bundle {folder} has format {_plain(found)}, and this version reads"
            f" {_listed(supported)}; update PocketTune or export the bundle again."
        )


class BundleCorrupt(BundleError):
    """A byte of the bundle is not what the manifest says."""

    code, exit_status = "bundle_corrupt", 13

    def __init__(self, file: _Name, reason: str) -> None:
        super().__init__(f"{file} is corrupt: {reason}; copy or export the bundle again.")


class BundlePathInvalid(BundleError):
    """A file name in the manifest is not allowed, or is a link."""

    code, exit_status = "bundle_path_invalid", 14

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The bundle's file name {_quoted(name)} is not allowed: {reason}; valid are relative"
            " paths of 1 to 4 parts of letters, digits, '.', '_' and '-': export the bundle again."
        )


class EngineVersionMismatch(BundleError):
    """The bundle was made for another runtime version."""

    code, exit_status = "engine_version_mismatch", 15

    def __init__(self, engine: str, bundle_version: str, engine_version: str) -> None:
        super().__init__(
            f"The bundle was made for {engine} {_plain(bundle_version)}, and this is"
            f" {engine_version}; install the bundle's version or export the bundle again."
        )


class BundleSignatureInvalid(BundleError):
    """The bundle is not signed, or not by the key that was asked for."""

    code, exit_status = "bundle_signature_invalid", 16

    def __init__(self, folder: _Name, reason: str) -> None:
        super().__init__(
            f"The bundle {folder} does not bear the signature that was asked for:"
            f" {reason}; use a bundle of that key's owner, or the key that signed it."
        )


class TensorError(PocketTuneError):
    """A tensor, or a file of tensors, is not as it has to be."""


class SafetensorsInvalid(TensorError):
    """A safetensors file breaks a rule of bundle.md 7."""

    code, exit_status = "safetensors_invalid", 20

    def __init__(self, file: _Name, reason: str) -> None:
        super().__init__(
            f"{file} is not a valid safetensors file: {reason}; write or download it again."
        )


class TensorMismatch(TensorError):
    """A tensor is missing, or has another shape or dtype than the manifest says."""

    code, exit_status = "tensor_mismatch", 21

    def __init__(self, name: str, found: str, expected: str) -> None:
        super().__init__(
            f"Tensor {_quoted(name)} is {found}, not {expected}; use a file that was made for this"
            " bundle."
        )


class StateMismatch(TensorError):
    """A saved state belongs to another bundle, other inputs or other settings."""

    code, exit_status = "state_mismatch", 22

    def __init__(self, path: _Name, setting: str, found: object, expected: object) -> None:
        super().__init__(
            f"The saved state {path} has {setting} {_plain(found)}, and this run has"
            f" {_plain(expected)}; run with the same inputs and settings, or into another"
            " folder."
        )


class ProgramError(PocketTuneError):
    """A program of a bundle did not do its work."""


class ProgramMissing(ProgramError):
    """The bundle has no program of that name."""

    code, exit_status = "program_missing", 30

    def __init__(self, name: str, valid: Iterable[str]) -> None:
        super().__init__(
            f"The bundle has no program {_quoted(name)}; choose one of {_listed(valid)}."
        )


class EngineFailed(ProgramError):
    """The runtime refused to load or run a program."""

    code, exit_status = "engine_failed", 31

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(
            f"The runtime cannot run the program {_quoted(program)}: {reason}; check the bundle"
            " with `pockettune-run verify` and export it again."
        )


class LossNotFinite(ProgramError):
    """The loss became NaN or infinite; the last good state is kept."""

    code, exit_status = "loss_not_finite", 32

    def __init__(self, step: int, loss: float, learning_rate: float) -> None:
        super().__init__(
            f"The loss became {loss} at step {step} with learning rate {learning_rate:g}; the last"
            " good state is kept: start again in another folder with a lower learning rate."
        )


class AdapterUnchanged(ProgramError):
    """Training ended without changing the adapter."""

    code, exit_status = "adapter_unchanged", 33

    def __init__(self, steps: int, learning_rate: float) -> None:
        super().__init__(
            f"Training for {steps} steps with learning rate {learning_rate:g} left the adapter as"
            " it was, so none was written; train longer or with a higher learning rate."
        )


class InputError(PocketTuneError):
    """A person's photos or words cannot be used."""


class PhotosUnreadable(InputError):
    """A photo cannot be decoded, or the folder holds none."""

    code, exit_status = "photos_unreadable", 40

    def __init__(self, path: _Name, reason: str) -> None:
        super().__init__(
            f"Cannot use {path} as photos: {reason}; give a folder with 3 to 6 photos of one"
            " subject as PNG, JPEG or WebP."
        )


class PhotosTooFew(InputError):
    """Too few photos."""

    code, exit_status = "photos_too_few", 41

    def __init__(self, folder: _Name, found: int, needed: int) -> None:
        super().__init__(
            f"{folder} holds {found} photos, and at least {needed} are needed; add more photos of"
            " the subject."
        )


class PromptTooLong(InputError):
    """The prompt has more tokens than the text encoder takes."""

    code, exit_status = "prompt_too_long", 42

    def __init__(self, prompt: str, tokens: int, limit: int) -> None:
        super().__init__(
            f"The prompt {_quoted(prompt)} has {tokens} tokens, and the text encoder takes at most"
            f" {limit}; shorten it."
        )


class ModelError(PocketTuneError):
    """A model, or what is asked of it, cannot be used."""


class ModelNotFound(ModelError):
    """No model folder or hub name of that kind."""

    code, exit_status = "model_not_found", 50

    def __init__(self, model: _Name, reason: str) -> None:
        super().__init__(
            f"There is no model {_quoted(model)}: {reason}; give 'starter', a folder in diffusers"
            " format (with model_index.json) or a hub name like 'owner/name'."
        )


class ModelComponentMissing(ModelError):
    """The model lacks a component."""

    code, exit_status = "model_component_missing", 51

    def __init__(self, folder: _Name, component: str) -> None:
        super().__init__(
            f"The model {folder} has no usable {_quoted(component)}; use a complete Stable"
            " Diffusion folder: tokenizer, text_encoder, vae, unet, scheduler."
        )


class ModelUnsupported(ModelError):
    """The model has a block or setting that is not supported."""

    code, exit_status = "model_unsupported", 52

    def __init__(self, setting: str, value: object, valid: str | Iterable[object]) -> None:
        super().__init__(
            f"The model's {setting} {_quoted(value)} is not supported; valid: {_listed(valid)}: use"
            " a model in Stable Diffusion 1.x or 2.x form."
        )


class ModelNotFinite(ModelError):
    """The model's weights hold NaN or infinity."""

    code, exit_status = "model_not_finite", 53

    def __init__(self, model: _Name, weight: str) -> None:
        super().__init__(
            f"The model {model} holds NaN or infinity in {_quoted(weight)}; download or train it"
            " again."
        )


class CutIllegal(ModelError):
    """The hollow cut is not legal for this net."""

    code, exit_status = "cut_illegal", 54

    def __init__(self, cut: str, legal: Iterable[str], reason: str) -> None:
        super().__init__(
            f"The cut {_quoted(cut)} is not legal for this net: {reason}; choose one of"
            f" {_listed(legal)}."
        )


class ConfigInvalid(ModelError):
    """A setting is unknown or out of range. ``valid`` is a phrase or the valid values."""

    code, exit_status = "config_invalid", 55

    def __init__(self, key: str, value: object, valid: str | Iterable[object]) -> None:
        super().__init__(
            f"The setting {_quoted(key)} cannot be {_quoted(value)}; valid: {_listed(valid)}."
        )


class ExportError(PocketTuneError):
    """A step of the export failed; no bundle was written."""


class ParityFailed(ExportError):
    """The final program differs from eager by more than the tolerance.

    ``operators`` are those of the smallest part of the graph that is already wrong.
    """

    code, exit_status = "parity_failed", 60

    def __init__(
        self,
        program: str,
        output: str,
        difference: float,
        tolerance: float,
        operators: Iterable[str],
    ) -> None:
        super().__init__(
            f"The lowered program {_quoted(program)} gives another {_quoted(output)} than PyTorch:"
            f" difference {difference:.3g}, tolerance {tolerance:.3g}, first wrong operators"
            f" {_listed(operators)}; no bundle was written: report this with your command."
        )


class LoweringFailed(ExportError):
    """A graph cannot be lowered."""

    code, exit_status = "lowering_failed", 61

    def __init__(self, program: str, operator: str, reason: str) -> None:
        super().__init__(
            f"The program {_quoted(program)} cannot be lowered at {_quoted(operator)}: {reason}; no"
            " bundle was written: report this with your command."
        )


class ToolMissing(ExportError):
    """A tool that this command needs is not installed. ``remedy`` is the command to run."""

    code, exit_status = "tool_missing", 62

    def __init__(self, tool: str, remedy: str) -> None:
        super().__init__(f"This command needs {_quoted(tool)}, which is not here; run `{remedy}`.")


class FederationError(PocketTuneError):
    """Learning together does not work with this."""


class UpdateInvalid(FederationError):
    """An update breaks a rule of update.md."""

    code, exit_status = "update_invalid", 70

    def __init__(self, where: str, reason: object) -> None:
        super().__init__(
            f"The update is not valid: {_plain(where)}: {_plain(reason)}; have the"
            " client write it again."
        )


class UpdateOutOfRange(UpdateInvalid):
    """Values that an update's codec cannot hold: not finite, or beyond its range."""


class UpdateMismatch(FederationError):
    """An update belongs to another round or another bundle."""

    code, exit_status = "update_mismatch", 71

    def __init__(self, name: str, found: object, expected: object) -> None:
        super().__init__(
            f"The update is for {name} {_plain(found)}, and {_plain(expected)} is"
            " expected; have the client fetch the current round."
        )


class RoundFailed(FederationError):
    """No client of a round is left to learn from. ``excluded`` counts them by reason."""

    code, exit_status = "round_failed", 72

    def __init__(self, number: int, excluded: dict[str, int]) -> None:
        reasons = _listed(f"{reason}: {count}" for reason, count in sorted(excluded.items()))
        super().__init__(
            f"Round {number} has no client left to learn from ({reasons or 'none was asked'});"
            " lower the learning rate, or ask clients that have data."
        )


class DataNotFound(FederationError):
    """A data set is not on this machine. ``ways`` are those to get it."""

    code, exit_status = "data_not_found", 73

    def __init__(self, name: str, ways: Iterable[str]) -> None:
        super().__init__(
            f"The data set {_quoted(name)} is not here; get it by one of: {'; '.join(ways)}."
        )


class DataInvalid(FederationError):
    """A file of a data set is damaged."""

    code, exit_status = "data_invalid", 74

    def __init__(self, name: str, file: str, reason: object) -> None:
        super().__init__(
            f"The file {file} of the data set {_quoted(name)} cannot be used:"
            f" {_plain(reason)}; get it again."
        )


class PartitionImpossible(FederationError):
    """A data set cannot be shared out as asked."""

    code, exit_status = "partition_impossible", 75

    def __init__(self, partition: str, clients: int, reason: str) -> None:
        super().__init__(
            f"The partition {_quoted(partition)} for {clients} clients is not possible: {reason};"
            " ask for fewer clients or another partition."
        )


def error_types() -> dict[str, type[PocketTuneError]]:
    """The error of each code."""

    def kinds(base: type[PocketTuneError]) -> Iterator[type[PocketTuneError]]:
        for kind in base.__subclasses__():
            yield kind
            yield from kinds(kind)

    return {kind.code: kind for kind in kinds(PocketTuneError) if "code" in vars(kind)}

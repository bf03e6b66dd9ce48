package org.pockettune

/**
 * What can go wrong, as `spec/errors.json` lists it: the same codes in every language.
 *
 * An app branches on these, never on a message.
 */
public enum class ErrorCode {
    /** A fault of PocketTune itself, to be reported. */
    BUG,

    /** The command line is wrong. */
    USAGE,

    /** A file cannot be read or written. */
    IO_FAILED,

    /** The disk is full; nothing was lost and no half file bears a final name. */
    DISK_FULL,

    /** Stopped by a signal; a later run goes on from the last state. */
    INTERRUPTED,

    /** There is not enough memory; what was saved stays valid. */
    OUT_OF_MEMORY,

    /** The folder or its manifest.json does not exist. */
    BUNDLE_NOT_FOUND,

    /** manifest.json breaks a rule of bundle.md. */
    BUNDLE_MANIFEST_INVALID,

    /** The bundle's format number is not one that this version reads. */
    BUNDLE_FORMAT_UNSUPPORTED,

    /** A byte of the bundle is not what the manifest says. */
    BUNDLE_CORRUPT,

    /** A file name in the manifest is not allowed, or is a link. */
    BUNDLE_PATH_INVALID,

    /** The bundle was made for another runtime version. */
    ENGINE_VERSION_MISMATCH,

    /** The bundle's signature is missing or does not fit the key. */
    BUNDLE_SIGNATURE_INVALID,

    /** A safetensors file breaks a rule of bundle.md 7. */
    SAFETENSORS_INVALID,

    /** A tensor is missing, or has another shape or dtype than the manifest says. */
    TENSOR_MISMATCH,

    /** A saved state belongs to another bundle, other inputs or other settings. */
    STATE_MISMATCH,

    /** The bundle has no program of that name. */
    PROGRAM_MISSING,

    /** The runtime refused to load or run a program. */
    ENGINE_FAILED,

    /** The loss became NaN or infinite; the last good state is kept. */
    LOSS_NOT_FINITE,

    /** Training ended without changing the adapter. */
    ADAPTER_UNCHANGED,

    /** A photo cannot be decoded, or the folder holds none. */
    PHOTOS_UNREADABLE,

    /** Too few photos. */
    PHOTOS_TOO_FEW,

    /** The prompt has more tokens than the text encoder takes. */
    PROMPT_TOO_LONG,

    /** No model folder or hub name of that kind. */
    MODEL_NOT_FOUND,

    /** The model lacks a component. */
    MODEL_COMPONENT_MISSING,

    /** The model has a block or setting that is not supported. */
    MODEL_UNSUPPORTED,

    /** The model's weights hold NaN or infinity. */
    MODEL_NOT_FINITE,

    /** The hollow cut is not legal for this net. */
    CUT_ILLEGAL,

    /** A setting is unknown or out of range. */
    CONFIG_INVALID,

    /** The final program differs from eager by more than the tolerance. */
    PARITY_FAILED,

    /** A graph cannot be lowered. */
    LOWERING_FAILED,

    /** A tool that this command needs is not installed. */
    TOOL_MISSING,

    /** An update breaks a rule of update.md. */
    UPDATE_INVALID,

    /** An update belongs to another round or another bundle. */
    UPDATE_MISMATCH,

    /** No client of a round is left to learn from. */
    ROUND_FAILED,

    /** A data set is not on this machine. */
    DATA_NOT_FOUND,

    /** A file of a data set is damaged. */
    DATA_INVALID,

    /** A data set cannot be shared out as asked. */
    PARTITION_IMPOSSIBLE,

    /** A download broke off, or gave something else than what was asked. */
    DOWNLOAD_FAILED,

    /** The store would grow beyond its quota. */
    QUOTA_EXCEEDED,
    ;

    /** The code's name in `spec/errors.json`, in messages and logs: `bundle_corrupt`. */
    public val id: String = name.lowercase()
}

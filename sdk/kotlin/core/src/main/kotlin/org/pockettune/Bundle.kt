package org.pockettune

import org.pockettune.internal.FileStamp
import org.pockettune.internal.LARGEST_JSON
import org.pockettune.internal.PlainFile
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.invalidManifest
import org.pockettune.internal.parseManifest
import org.pockettune.internal.shown
import org.pockettune.internal.storage
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.NoSuchFileException
import java.nio.file.Path
import java.nio.file.attribute.BasicFileAttributes
import java.util.Base64

/**
 * A verified bundle: a folder that is byte for byte what its manifest says (`spec/bundle.md`).
 *
 * What was verified is what is used: a file that is replaced or written to later is `bundle_corrupt` when it is asked for.
 *
 * @property folder where it lies.
 * @property manifest what it says about itself.
 */
public class Bundle private constructor(
    public val folder: Path,
    public val manifest: Manifest,
    private val verified: Map<String, FileStamp>,
) {
    /** 64 lower-case hexadecimal digits that stand for every byte of the bundle. */
    public val id: String get() = manifest.bundleId

    /**
     * Where a file of the bundle lies.
     *
     * @param name a name of [Manifest.files].
     * @throws PocketTuneException `bundle_corrupt` when the file was changed since the bundle was opened.
     */
    public fun file(name: String): Path {
        val path = folder.resolve(name)
        PlainFile(path).use { checkStamp(name, it.stamp) }
        return path
    }

    /**
     * The program of that name.
     *
     * @throws PocketTuneException `program_missing`, which names the programs that there are.
     */
    public fun program(name: String): Program =
        manifest.programs[name] ?: throw PocketTuneException(
            ErrorCode.PROGRAM_MISSING,
            "the bundle has no program ${shown(name)}: it has ${manifest.programs.keys.joinToString { shown(it) }}",
        )

    /**
     * Checks that the programs were made for a version of the runtime (both up to any `+`).
     *
     * @param tool the runtime's name in [Manifest.tools]: `executorch`.
     * @param version the version that this app has.
     * @throws PocketTuneException `engine_version_mismatch`.
     */
    public fun checkEngine(
        tool: String,
        version: String,
    ) {
        val made = manifest.tools[tool]
        if (made?.substringBefore('+') == version.substringBefore('+')) return
        throw PocketTuneException(
            ErrorCode.ENGINE_VERSION_MISMATCH,
            "the bundle was made for ${shown(tool)} ${made?.let(::shown) ?: "of an unknown version"}, and this app has " +
                "${shown(version)}: export the bundle again with that version",
        )
    }

    /** A tensor file of the bundle, opened; `bundle_corrupt` when it is not the file that was verified. */
    internal fun tensors(name: String): SafetensorsFile {
        val file = SafetensorsFile(folder.resolve(name))
        try {
            checkStamp(name, file.stamp)
        } catch (failure: PocketTuneException) {
            file.close()
            throw failure
        }
        return file
    }

    /** This bundle, after its folder was given another name. */
    internal fun renamed(folder: Path): Bundle = Bundle(folder, manifest, verified)

    private fun checkStamp(
        name: String,
        found: FileStamp,
    ) {
        if (found != verified.getValue(name)) corrupt(folder.resolve(name), "was changed while it was in use")
    }

    /** Opening. */
    public companion object {
        /**
         * Opens a bundle and verifies every byte of it. It reads all files: call it off the main thread.
         *
         * @param folder the bundle's folder.
         * @param key whose signature the bundle must bear; null: none is looked at.
         * @throws PocketTuneException the first rule of `spec/bundle.md` that fails: `bundle_not_found`,
         *   `bundle_manifest_invalid`, `bundle_corrupt`, `bundle_signature_invalid`, `bundle_format_unsupported`,
         *   `bundle_path_invalid`, `safetensors_invalid`, `tensor_mismatch`; or `io_failed`.
         */
        @JvmStatic
        @JvmOverloads
        public fun open(
            folder: Path,
            key: BundleKey? = null,
        ): Bundle {
            val parsed = parseManifest(readManifest(folder), key)
            // Sizes first: hashing is slow, and a file that was cut off is the common case.
            for ((name, entry) in parsed.files) checkSize(folder, name, entry.bytes)
            val verified = parsed.files.mapValues { (name, entry) -> checkHash(folder.resolve(name), entry.sha256) }
            val bundle = Bundle(folder, parsed, verified)
            for ((name, tensor) in parsed.tensors) {
                val file = tensor.file ?: continue
                bundle.tensors(file).use { it.require(name, tensor.dtype, tensor.shape) }
            }
            return bundle
        }

        /** The bytes of a manifest, at most 16 MiB. */
        internal fun readManifest(folder: Path): ByteArray {
            val path = folder.resolve("manifest.json")
            if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
                throw PocketTuneException(
                    ErrorCode.BUNDLE_NOT_FOUND,
                    "${shown("$folder")} is no bundle: it has no manifest.json",
                )
            }
            PlainFile(path).use {
                if (it.size > LARGEST_JSON) invalidManifest("it is larger than 16 MiB")
                return it.read(0, it.size.toInt())
            }
        }

        /** Neither the file nor a folder on the way to it may be a link. */
        private fun checkSize(
            folder: Path,
            name: String,
            bytes: Long,
        ) {
            var path = folder
            var attributes: BasicFileAttributes? = null
            for (part in name.split('/')) {
                if (attributes?.isDirectory == false) corrupt(path, "is no folder")
                path = path.resolve(part)
                attributes = attributesOf(path) ?: corrupt(path, "is missing")
                if (attributes.isSymbolicLink) {
                    throw PocketTuneException(
                        ErrorCode.BUNDLE_PATH_INVALID,
                        "${shown("$path")} is a link: a bundle holds files only",
                    )
                }
            }
            if (attributes?.isRegularFile != true || attributes.size() != bytes) {
                corrupt(path, "is not a file of $bytes bytes")
            }
        }

        private fun attributesOf(path: Path): BasicFileAttributes? =
            storage("read", path) {
                try {
                    Files.readAttributes(path, BasicFileAttributes::class.java, LinkOption.NOFOLLOW_LINKS)
                } catch (_: NoSuchFileException) {
                    null
                }
            }

        private fun checkHash(
            path: Path,
            sha256: String,
        ): FileStamp =
            PlainFile(path).use {
                if (it.sha256From(0) != sha256) corrupt(path, "has changed bytes")
                it.stamp
            }

        private fun corrupt(
            path: Path,
            why: String,
        ): Nothing =
            throw PocketTuneException(
                ErrorCode.BUNDLE_CORRUPT,
                "${shown("$path")} $why: fetch or export the bundle again",
            )
    }
}

package org.pockettune

import java.nio.ByteBuffer

/** A runtime that runs a bundle's programs. */
public interface Engine {
    /** The name under which a manifest lists where this runtime finds a program: `executorch`. */
    public val id: String

    /**
     * Loads a program. Raises `program_missing` when the bundle has none for this runtime, `engine_version_mismatch` when
     * it was made for another version and that can be known, and `engine_failed` when the runtime refuses it.
     */
    public fun open(
        bundle: Bundle,
        program: String,
    ): Session
}

/** A loaded program; one thread at a time uses it. Closing gives its memory back. */
public interface Session : AutoCloseable {
    /**
     * Runs the program once. Both lists are in the program's order; every buffer is direct, in native byte order, begins
     * at a multiple of 16 bytes and is exactly as large as its tensor. Whole buffers count, whatever their positions.
     * No buffer may be used twice.
     *
     * Raises `tensor_mismatch` when the program takes or gives other tensors than the manifest lists, `engine_failed` for
     * every other failure, also after [close].
     */
    public fun run(
        inputs: List<ByteBuffer>,
        outputs: List<ByteBuffer>,
    )

    /** Gives the memory back; closing twice is the same as closing once. */
    override fun close()
}

package org.pockettune

/**
 * The types of a tensor's elements (`spec/bundle.md` 3).
 *
 * @property id the name in a manifest: `float32`.
 * @property bytes bytes of one element.
 * @property safetensors the name in a safetensors file: `F32`.
 */
public enum class DType(
    public val id: String,
    public val bytes: Int,
    public val safetensors: String,
) {
    /** IEEE 754 binary32. */
    FLOAT32("float32", 4, "F32"),

    /** IEEE 754 binary16. */
    FLOAT16("float16", 2, "F16"),

    /** 64-bit integers, two's complement. */
    INT64("int64", 8, "I64"),

    /** 32-bit integers, two's complement. */
    INT32("int32", 4, "I32"),

    /** 0 to 255. */
    UINT8("uint8", 1, "U8"),

    /** -128 to 127. */
    INT8("int8", 1, "I8"),
}

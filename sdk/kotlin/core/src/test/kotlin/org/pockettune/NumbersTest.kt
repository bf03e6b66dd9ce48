package org.pockettune

import org.pockettune.internal.JsonWriter
import org.pockettune.internal.format
import org.pockettune.internal.fromHalf
import org.pockettune.internal.toHalf
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class NumbersTest {
    /** Lines of a number's bits (16 digits: a double, 8: a float) and what g++ 12's `std::to_chars` writes for it. */
    @Test
    fun `numbers are written as std to_chars writes them`() {
        val lines = checkNotNull(javaClass.getResource("/to_chars.txt")).readText().trim().lines()
        assertTrue(lines.size > 200)
        for (line in lines) {
            val (bits, text) = line.split(' ')
            val double = Double.fromBits(bits.toULong(16).toLong())
            val written = if (bits.length == 16) format(double) else format(Float.fromBits(bits.toUInt(16).toInt()))
            assertEquals(text, written)
        }
    }

    @Test
    fun `every half survives, and floats go to the nearest`() {
        for (bits in 0..0xffff) {
            val value = fromHalf(bits.toShort())
            if (value.isNaN()) assertTrue(fromHalf(toHalf(value)).isNaN()) else assertEquals(bits.toShort(), toHalf(value))
        }
        // Between two neighbors the middle goes to the even one, anything beside it to the nearer one.
        for (bits in 0 until 0x7bff) {
            val low = fromHalf(bits.toShort())
            val middle = (low + fromHalf((bits + 1).toShort())) / 2
            assertEquals(bits + (bits and 1), toHalf(middle).toInt())
            assertEquals(bits, toHalf(Math.nextDown(middle)).toInt())
            assertEquals(bits + 1, toHalf(Math.nextUp(middle)).toInt())
        }
        assertEquals(0x7c00, toHalf(65520f).toInt())
        assertEquals(0x7bff, toHalf(Math.nextDown(65520f)).toInt())
    }

    @Test
    fun `JSON is one line of ASCII`() {
        val text =
            JsonWriter().obj {
                name("a").array { number(1L).number(0.5).number(0.1f).number(Double.NaN).boolean(true) }
                name("\u00e9\"").string("\uD83D\uDC38\n\\")
            }
        assertEquals("{\"a\":[1,0.5,0.1,null,true],\"\\u00e9\\\"\":\"\\ud83d\\udc38\\u000a\\\\\"}", "$text")
    }
}

package org.pockettune

import org.pockettune.internal.verifyP256
import java.math.BigInteger
import java.security.GeneralSecurityException
import java.security.KeyFactory
import java.security.interfaces.ECPublicKey
import java.security.spec.X509EncodedKeySpec

/**
 * A P-256 public key that a bundle's signature is checked with.
 *
 * @param spki the key as X.509 SubjectPublicKeyInfo (DER), as `openssl pkey -pubout -outform DER` writes it. Another key
 *   is `config_invalid`.
 */
public class BundleKey(
    spki: ByteArray,
) {
    private val key: ECPublicKey = parse(spki)

    internal fun verify(
        message: ByteArray,
        signature: ByteArray,
    ): Boolean = verifyP256(key, message, signature)

    private companion object {
        // The order of P-256's group (FIPS 186-4, D.1.2.3): no other named curve has it.
        val order = BigInteger("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)

        fun parse(spki: ByteArray): ECPublicKey {
            val key =
                try {
                    KeyFactory.getInstance("EC").generatePublic(X509EncodedKeySpec(spki)) as? ECPublicKey
                } catch (_: GeneralSecurityException) {
                    null
                }
            if (key?.params?.order != order) {
                throw PocketTuneException(
                    ErrorCode.CONFIG_INVALID,
                    "the key is not a P-256 public key: give its SubjectPublicKeyInfo as DER",
                )
            }
            return key
        }
    }
}

package org.pockettune.internal

import org.pockettune.AdapterLayout
import org.pockettune.Argument
import org.pockettune.Binding
import org.pockettune.BundleKey
import org.pockettune.Cache
import org.pockettune.Classification
import org.pockettune.DType
import org.pockettune.EngineProgram
import org.pockettune.ErrorCode
import org.pockettune.FileEntry
import org.pockettune.Generation
import org.pockettune.ImageSize
import org.pockettune.Manifest
import org.pockettune.PocketTuneException
import org.pockettune.Program
import org.pockettune.ProgramBudget
import org.pockettune.Role
import org.pockettune.Scope
import org.pockettune.Spacing
import org.pockettune.StateTensor
import org.pockettune.TextEncoding
import org.pockettune.Training
import org.pockettune.View
import java.util.Base64

private const val FORMAT = 1L
private val opening =
    Regex("\\{\"bundle_id\":\"([0-9a-f]{64})\",\"signature\":\"((?:[A-Za-z0-9+/]{85}[AQgw]==)?)\",")
private const val LONGEST_OPENING = 200
private val digest = Regex("[0-9a-f]{64}")
private val predictedBits = (2L..8L) + 32L

/**
 * The whole of manifest.json's bytes, checked in the order of `spec/bundle.md`: the opening, the id, the signature when
 * there is a [key], the JSON, the format, the structure, the file names, the references.
 */
internal fun parseManifest(
    bytes: ByteArray,
    key: BundleKey? = null,
): Manifest {
    val start = String(bytes, 0, minOf(bytes.size, LONGEST_OPENING), Charsets.ISO_8859_1)
    val match = opening.matchAt(start, 0) ?: invalidManifest("it does not begin with bundle_id and signature")
    val (bundleId, signature) = match.destructured
    if (canonicalSha256(bytes, match.value.length) != bundleId) {
        throw PocketTuneException(
            ErrorCode.BUNDLE_CORRUPT,
            "manifest.json is not what its bundle_id says: fetch or export the bundle again",
        )
    }
    if (key != null && !key.verify(canonical(bytes, match.value.length), Base64.getDecoder().decode(signature))) {
        throw PocketTuneException(
            ErrorCode.BUNDLE_SIGNATURE_INVALID,
            "the bundle is not signed with the key that this app trusts: fetch it from its maker",
        )
    }
    val root =
        try {
            Member(parseJson(bytes))
        } catch (fault: JsonFault) {
            invalidManifest(fault.message.orEmpty())
        }
    val format = root["format"].anyInteger()
    if (format != FORMAT) {
        throw PocketTuneException(
            ErrorCode.BUNDLE_FORMAT_UNSUPPORTED,
            "the bundle has another format than $FORMAT, which this version reads: export it with a matching version",
        )
    }
    val manifest = parseMembers(root, bundleId, signature)
    checkFileNames(manifest)
    checkReferences(manifest)
    return manifest
}

// The object without its first two members: "{" and what comes after them.

private fun canonicalSha256(
    bytes: ByteArray,
    rest: Int,
): String {
    val digest = sha256Digest()
    digest.update('{'.code.toByte())
    digest.update(bytes, rest, bytes.size - rest)
    return digest.hex()
}

private fun canonical(
    bytes: ByteArray,
    rest: Int,
): ByteArray = bytes.copyOfRange(rest - 1, bytes.size).also { it[0] = '{'.code.toByte() }

private fun parseMembers(
    root: Member,
    bundleId: String,
    signature: String,
): Manifest {
    val task = root["task"].text()
    root["method"]["name"].text()
    root["method"]["config"].requireObject()
    root["precision"]["state"].oneOf("float32")
    root["precision"]["wire"].oneOf("float32")
    root["parity"].each { it["tolerance"].requireObject() }
    val pictures = task == Manifest.TEXT_TO_IMAGE
    return Manifest(
        bundleId = bundleId,
        signature = signature,
        name = root["name"].text(),
        task = task,
        tools = root["tools"].texts(),
        frozenBits = root["precision"]["frozen_bits"].bits(listOf(8L, 32L)),
        files = root["files"].each(::parseFile),
        tensors = root["tensors"].each(::parseTensor),
        caches = root["caches"].each(::parseCache),
        programs = root["programs"].each(::parseProgram),
        preparation = root["preparation"].items { it.text() },
        training = parseTraining(root["training"]),
        generation = root.optional("generation", pictures, ::parseGeneration),
        text = root.optional("text", pictures, ::parseText),
        image = root.optional("image", pictures) { ImageSize(it["height"].positive(), it["width"].positive()) },
        adapter = root.optional("adapter", pictures) { AdapterLayout(it["tensors"].text(), it["metadata"].texts()) },
        classification = root.optional("classification", task == Manifest.CLASSIFICATION, ::parseClassification),
        budget = root["budget"]["programs"].each(::parseBudget),
    )
}

private fun <Value> Member.optional(
    name: String,
    required: Boolean,
    parse: (Member) -> Value,
): Value? = (if (required) get(name) else find(name))?.let(parse)

private fun Member.bits(allowed: List<Long>): Int {
    val bits = integer(0L..Int.MAX_VALUE)
    if (bits !in allowed) fail("is $bits, not one of ${allowed.joinToString(" ")}")
    return bits.toInt()
}

private fun parseFile(member: Member): FileEntry {
    val sha256 = member["sha256"].text()
    if (!digest.matches(sha256)) member["sha256"].fail("is not 64 lower-case hexadecimal digits")
    return FileEntry(sha256, member["bytes"].count())
}

private fun parseTensor(member: Member): StateTensor {
    val role = member["role"].oneOf(*Role.entries.map { it.name.lowercase() }.toTypedArray())
    val tensor =
        StateTensor(
            dtype = member["dtype"].dtype(),
            shape = member["shape"].shape(),
            role = Role.valueOf(role.uppercase()),
            file = member["file"].let { if (it.isNull) null else it.text() },
            views = member.find("views")?.items(::parseView).orEmpty(),
        )
    member.checkBytes(tensor.shape, tensor.dtype)
    return tensor
}

private fun parseView(member: Member): View {
    val view = View(member["name"].text(), member["shape"].shape(), member["offset"].count())
    // A part of a tensor is no larger than a tensor; this also keeps its elements within 64 bits.
    member.checkBytes(view.shape, DType.UINT8)
    return view
}

private fun parseCache(member: Member): Cache {
    val dtype = member["dtype"].dtype()
    val stored = member["stored"].dtype()
    val shape = member["shape"].shape()
    val scope = member["scope"].scope { it.isOfCaches }
    val initial = member.find("initial")
    initial?.get("binding")?.oneOf("random.normal")
    member.checkBytes(shape, dtype)
    if (stored != dtype && (dtype != DType.FLOAT32 || stored != DType.FLOAT16)) {
        member["stored"].fail("is no way to store ${dtype.id}")
    }
    return Cache(dtype, shape, stored, scope, initial?.get("stream")?.stream())
}

private fun Member.scope(allowed: (Scope) -> Boolean): Scope {
    val names = Scope.entries.filter(allowed).map { it.id }
    return Scope.valueOf(oneOf(*names.toTypedArray()).uppercase())
}

private fun parseProgram(member: Member): Program {
    val engines = member["engines"].each { EngineProgram(it["file"].text(), it["method"].text()) }
    if (engines.isEmpty()) member["engines"].fail("is empty")
    return Program(engines, member["inputs"].items(::parseArgument), member["outputs"].items(::parseArgument))
}

private fun parseArgument(member: Member): Argument {
    val argument =
        Argument(member["name"].text(), member["dtype"].dtype(), member["shape"].shape(), parseBinding(member))
    member.checkBytes(argument.shape, argument.dtype)
    return argument
}

private fun parseBinding(member: Member): Binding {
    val text = member["binding"].text()
    // Members that this binding has no use for must be well formed all the same.
    val stream = member.find("stream")?.stream()
    val index = member.find("index")?.scope { true }
    val low = member.find("low")?.signed()
    val high = member.find("high")?.signed()
    val prompt = member.find("prompt")?.oneOf("conditional", "unconditional")

    fun <Value> Value?.orMissing(name: String): Value = this ?: member.fail("needs $name for ${shown(text)}")

    val (kind, name) = text.substringBefore('.') to text.substringAfter('.', "")
    return when {
        text == "loss" -> Binding.Loss
        text == "random.normal" -> Binding.RandomNormal(stream.orMissing("stream"), index.orMissing("index"))
        text == "random.uniform" -> Binding.RandomUniform(stream.orMissing("stream"), index.orMissing("index"))
        text == "random.integer" ->
            Binding.RandomInteger(
                stream.orMissing("stream"),
                index.orMissing("index"),
                low.orMissing("low"),
                high.orMissing("high"),
            )
        name.isEmpty() -> member["binding"].fail("is no known binding: ${shown(text)}")
        kind == "batch" -> Binding.Batch(name)
        kind == "state" -> Binding.State(name)
        kind == "cache" -> Binding.Cache(name, prompt == "unconditional")
        kind == "hyper" -> Binding.Hyper(name)
        kind == "metric" -> Binding.Metric(name)
        kind == "output" -> Binding.Output(name)
        else -> member["binding"].fail("is no known binding: ${shown(text)}")
    }
}

private fun parseTraining(member: Member) =
    Training(
        program = member["program"].text(),
        steps = member["steps"].positive(),
        samples = member["samples"].positive(),
        accumulation = member["accumulation"].positive(),
        hyper = member["hyper"].numbers(),
    )

private fun parseGeneration(member: Member) =
    Generation(
        stepProgram = member["step_program"].text(),
        outputProgram = member["output_program"].text(),
        promptProgram = member["prompt_program"].text(),
        steps = member["steps"].positive(),
        trainTimesteps = member["train_timesteps"].positive(),
        spacing = if (member["spacing"].oneOf("trailing", "leading") == "trailing") Spacing.TRAILING else Spacing.LEADING,
        stepsOffset = member["steps_offset"].count(),
        hyper = member["hyper"].numbers(),
    )

private fun parseText(member: Member) =
    TextEncoding(
        maxLength = member["max_length"].positive(),
        vocabularyFile = member["tokenizer"]["vocab"].text(),
        mergesFile = member["tokenizer"]["merges"].text(),
        unconditionalIds = member["unconditional_ids"].items { it.count() },
    )

private fun parseClassification(member: Member) =
    Classification(
        inputShape = member["input_shape"].shape(),
        classes = member["classes"].positive(),
        batchSize = member["batch_size"].positive(),
        epochs = member["epochs"].positive(),
        parameters = member["parameters"].text(),
        evaluateProgram = member["evaluate_program"].text(),
        predictPrograms =
            member["predict_programs"].each {
                it["arithmetic"].oneOf("float32")
                it["bits"].bits(predictedBits)
            },
    )

private fun parseBudget(member: Member): ProgramBudget {
    val measured = mutableMapOf<String, Double>()
    member.find("measured")?.each { it.number() }?.forEach { (name, number) -> if (number != null) measured[name] = number }
    return ProgramBudget(member["arena_bytes"].count(), member["weight_bytes"].count(), measured)
}

package org.pockettune.internal

import org.pockettune.Argument
import org.pockettune.Binding
import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.Manifest
import org.pockettune.PocketTuneException
import org.pockettune.Program
import org.pockettune.StateTensor
import org.pockettune.elementsOf

private val component = Regex("[A-Za-z0-9_][A-Za-z0-9._-]*")
private const val MOST_COMPONENTS = 4
private const val LONGEST_NAME = 200
private const val WIDEST_RANGE = 1L shl 32

/** Whether a name may be a file of a bundle (`spec/bundle.md` 2). */
internal fun isBundlePath(name: String): Boolean {
    if (name == "manifest.json" || name.length > LONGEST_NAME) return false
    val components = name.split('/')
    return components.size <= MOST_COMPONENTS && components.all(component::matches)
}

/** Raises `bundle_path_invalid` for a file name that is not allowed. */
internal fun checkFileNames(manifest: Manifest) {
    val name = manifest.files.keys.find { !isBundlePath(it) } ?: return
    throw PocketTuneException(
        ErrorCode.BUNDLE_PATH_INVALID,
        "the manifest names the file ${shown(name)}, which is not allowed: fetch or export the bundle again",
    )
}

/** Raises `bundle_manifest_invalid` when a name names nothing, or two descriptions of one thing differ. */
internal fun checkReferences(manifest: Manifest) {
    for ((name, tensor) in manifest.tensors) {
        val user = "tensors.${shown(name)}"
        tensor.file?.let { manifest.checkFile(it, user) }
        checkViews(tensor, user)
    }
    for ((name, program) in manifest.programs) manifest.checkProgramMembers(program, "programs.${shown(name)}")
    for (name in manifest.preparation) manifest.checkProgram(name, "preparation")
    for (name in manifest.budget.keys) manifest.checkProgram(name, "budget.programs")
    manifest.checkProgram(manifest.training.program, "training.program")
    manifest.checkPictures()
    manifest.classification?.let { member ->
        manifest.checkPack(member.parameters, "classification.parameters")
        manifest.checkProgram(member.evaluateProgram, "classification.evaluate_program")
        for (name in member.predictPrograms.keys) manifest.checkProgram(name, "classification.predict_programs")
    }
}

private fun Manifest.checkPictures() {
    generation?.let {
        checkProgram(it.promptProgram, "generation.prompt_program")
        checkProgram(it.stepProgram, "generation.step_program")
        checkProgram(it.outputProgram, "generation.output_program")
    }
    text?.let {
        checkFile(it.vocabularyFile, "text.tokenizer.vocab")
        checkFile(it.mergesFile, "text.tokenizer.merges")
        if (it.unconditionalIds.size != it.maxLength) {
            invalidManifest("text.unconditional_ids has ${it.unconditionalIds.size} ids, not max_length: ${it.maxLength}")
        }
    }
    adapter?.let { checkPack(it.tensors, "adapter.tensors") }
}

private fun checkViews(
    tensor: StateTensor,
    user: String,
) {
    if (tensor.views.isEmpty()) return
    val names = HashSet<String>()
    var position = 0L
    for (view in tensor.views) {
        if (view.offset != position) invalidManifest("$user has a gap or overlap before the view ${shown(view.name)}")
        if (!names.add(view.name)) invalidManifest("$user has the view ${shown(view.name)} twice")
        // No overflow: views have at most 2^40 elements each, and a manifest holds fewer than 2^22 of them.
        position += elementsOf(view.shape)
    }
    if (position != elementsOf(tensor.shape)) invalidManifest("the views of $user do not cover it exactly")
}

private fun Manifest.checkProgramMembers(
    program: Program,
    user: String,
) {
    for ((engine, entry) in program.engines) checkFile(entry.file, "$user.engines.${shown(engine)}")
    for (input in program.inputs) checkInput(input, "$user input ${shown(input.name)}")
    for (output in program.outputs) checkOutput(output, "$user output ${shown(output.name)}")
    val scopes =
        program.outputs.mapNotNullTo(HashSet()) {
            (it.binding as? Binding.Cache)?.let { cache ->
                caches.getValue(cache.name).scope
            }
        }
    if (scopes.size > 1) invalidManifest("$user has outputs of several scopes")
}

private fun Manifest.checkInput(
    argument: Argument,
    user: String,
) {
    when (val binding = argument.binding) {
        is Binding.State -> checkState(argument, binding, user)
        is Binding.Cache -> checkCache(argument, binding, user)
        is Binding.RandomNormal, is Binding.RandomUniform -> argument.checkDType(user, DType.FLOAT32)
        is Binding.RandomInteger -> {
            argument.checkDType(user, DType.INT64)
            if (binding.high - binding.low !in 1..WIDEST_RANGE) invalidManifest("$user must have a range of 1 to 2^32")
        }
        is Binding.Hyper -> argument.checkDType(user, DType.FLOAT32, DType.INT64)
        is Binding.Batch -> Unit
        Binding.Loss, is Binding.Metric, is Binding.Output -> invalidManifest("$user is bound to what only an output can be")
    }
}

private fun Manifest.checkOutput(
    argument: Argument,
    user: String,
) {
    when (val binding = argument.binding) {
        is Binding.State -> checkState(argument, binding, user)
        is Binding.Cache -> checkCache(argument, binding, user)
        Binding.Loss, is Binding.Metric -> {
            argument.checkDType(user, DType.FLOAT32)
            if (argument.shape != emptyList<Int>() && argument.shape != listOf(1)) invalidManifest("$user must be one number")
        }
        is Binding.Output -> Unit
        is Binding.Random, is Binding.Hyper, is Binding.Batch -> invalidManifest("$user is bound to what only an input can be")
    }
}

private fun Manifest.checkState(
    argument: Argument,
    binding: Binding.State,
    user: String,
) {
    val tensor = tensors[binding.name] ?: invalidManifest("$user is bound to no tensor: ${shown(binding.name)}")
    argument.checkSame(tensor.dtype, tensor.shape, user)
}

private fun Manifest.checkCache(
    argument: Argument,
    binding: Binding.Cache,
    user: String,
) {
    val cache = caches[binding.name] ?: invalidManifest("$user is bound to no cache: ${shown(binding.name)}")
    argument.checkSame(cache.dtype, cache.shape, user)
}

private fun Argument.checkSame(
    dtype: DType,
    shape: List<Int>,
    user: String,
) {
    if (this.dtype != dtype || this.shape != shape) invalidManifest("$user has another dtype or shape than what it is bound to")
}

private fun Argument.checkDType(
    user: String,
    vararg allowed: DType,
) {
    if (dtype !in allowed) invalidManifest("$user must be ${allowed.joinToString(" or ") { it.id }}")
}

private fun Manifest.checkFile(
    name: String,
    user: String,
) {
    if (name !in files) invalidManifest("$user names the file ${shown(name)}, which files lacks")
}

private fun Manifest.checkProgram(
    name: String,
    user: String,
) {
    if (name !in programs) invalidManifest("$user names no program: ${shown(name)}")
}

private fun Manifest.checkPack(
    name: String,
    user: String,
) {
    val tensor = tensors[name]
    if (tensor == null || tensor.dtype != DType.FLOAT32 || tensor.views.isEmpty()) {
        invalidManifest("$user names no float32 tensor with views: ${shown(name)}")
    }
}

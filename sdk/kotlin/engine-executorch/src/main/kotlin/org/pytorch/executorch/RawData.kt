package org.pytorch.executorch

import java.nio.Buffer

/**
 * The memory of a tensor. The public accessors copy it into a new array each time, which would fill the heap at every
 * step; the runtime's own natives use this one, and only its package may call it.
 */
internal fun rawData(tensor: Tensor): Buffer = tensor.rawDataBuffer

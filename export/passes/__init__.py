"""The rewrites between a traced program and a captured graph, in the order in which they run.

A traced program is in core ATen. A captured graph holds only what the XNNPACK delegate takes, in
the forms that it takes, up to a few operators on integers; each frozen weight is one constant. All
passes are linear in the nodes and keep the program's order, which is the order of recomputation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch.fx import GraphModule

from export.passes.convolutions import expand_convolutions
from export.passes.editor import Editor
from export.passes.elementwise import (
    expand_elementwise,
    expand_error_function,
    numbers_to_tensors,
)
from export.passes.finishing import drop_unused_constants, own_outputs
from export.passes.folding import fold_constants, fold_fills, merge_constants
from export.passes.norms import expand_norms
from export.passes.pooling import expand_pooling
from export.passes.products import expand_products, read_transposed
from export.passes.ranks import sink_reshapes
from export.passes.reductions import expand_reductions
from export.passes.resampling import expand_upsampling
from export.passes.trained import expand_trained_convolutions, move_permutes
from export.passes.views import (
    canonicalize_views,
    drop_copies,
    merge_views,
    repeat_views,
    share_views,
)
from export.passes.weights import FrozenWeights, share_embeddings, share_linears

__all__ = ["PASSES", "WEIGHT_PASSES", "Editor", "FrozenWeights", "run_passes"]

# What turns weights into stored constants. These come first, while weights are still as traced.
WEIGHT_PASSES: tuple[Callable[[Editor, FrozenWeights], int], ...] = (
    share_linears,  # products with a weight, forward and backward, read one constant
    share_embeddings,  # look-ups read int8 rows
    expand_convolutions,  # convolutions become one product for each tap
)

PASSES: tuple[Callable[[Editor], int], ...] = (
    fold_fills,  # ones and zeros "like" a tensor are constants
    fold_constants,  # tables and masks are computed now
    expand_upsampling,  # no views of rank 6
    expand_norms,  # the delegate has no group or layer norm
    expand_reductions,  # ... and no sums
    expand_products,  # linear runs without the copy that bmm keeps
    expand_error_function,  # ... and no erf, which the gradient of gelu has
    expand_elementwise,  # squares, broadcasts, scattered slices
    numbers_to_tensors,  # the delegate adds tensors, not numbers
    canonicalize_views,  # reshape, permute and slice only
    sink_reshapes,  # most reshapes are undone behind an elementwise operator
    merge_views,  # each view is a copy: fewer of them
    fold_constants,  # views of constants that appeared meanwhile
    read_transposed,  # a product packs its matrix either way round
    share_views,  # the same view twice, close together
    repeat_views,  # no view is kept from forward to backward
    own_outputs,  # outputs never alias inputs
    drop_unused_constants,
)


def run_passes(module: GraphModule, weights: FrozenWeights) -> Mapping[str, int]:
    """Run all passes on a traced ``module`` in place; returns the rewrites of each.

    Every node needs ``meta["val"]`` (``editor.py``). The same pass may run twice: counts add up.
    """
    editor = Editor(module)
    counts: dict[str, int] = {}

    def record(name: str, count: int) -> None:
        counts[name] = counts.get(name, 0) + count

    record("drop_copies", drop_copies(editor))
    record("merge_constants", merge_constants(editor))
    # Layers whose weights are state, or computed from it, and what lies between them.
    trained = expand_trained_convolutions(editor)
    record("expand_trained_convolutions", trained)
    record("expand_pooling", expand_pooling(editor))
    for weight_pass in WEIGHT_PASSES:
        record(weight_pass.__name__, weight_pass(editor, weights))
    for graph_pass in PASSES:
        if graph_pass is merge_views and trained:
            record("move_permutes", move_permutes(editor))
        record(graph_pass.__name__, graph_pass(editor))
    editor.graph.lint()
    module.recompile()
    return counts

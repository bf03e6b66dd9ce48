"""Every use of an interface that executorch does not promise to keep, in one place.

The rest of the package sees only what is listed in ``__all__``. A new executorch version means to
read this file again, change ``VERSION`` and run ``tests/export``.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

import torch
from executorch.backends.transforms.remove_getitem_op import RemoveGetItemPass
from executorch.backends.xnnpack._passes import XNNPACKPassManager
from executorch.backends.xnnpack._passes.channels_last_tagged_reshape_pass import (
    ChannelsLastTaggedReshapePass,
)
from executorch.backends.xnnpack._passes.convert_to_linear import ConvertToLinearPass
from executorch.backends.xnnpack._passes.decompose_cat import DecomposeConcatenate
from executorch.backends.xnnpack._passes.fuse_activation_pass import FuseActivationPass
from executorch.backends.xnnpack._passes.remove_redundant_copy_pass import RemoveRedundantCopyPass
from executorch.backends.xnnpack.operators.node_visitor import get_node_visitors
from executorch.backends.xnnpack.partition.config import (
    gemm_configs,
    generic_node_configs,
    node_configs,
    xnnpack_config,
)
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import (
    ConstantDataOffset,
    XNNGraph,
)
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import (
    serialize_xnnpack_binary,
)
from executorch.backends.xnnpack.xnnpack_preprocess import generate_node_to_external_map
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, ExecutorchBackendConfig
from executorch.exir._serialize import _dataclass as serialization
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.dialects._ops import ops as edge_operators
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.exir.memory_planning import MemoryPlanningAlgorithmSuite, greedy
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from pockettune.errors import ToolMissing

__all__ = [
    "DELEGATE_CALL",
    "VERSION",
    "ConstantStore",
    "Refusals",
    "delegate_module",
    "edge_operator",
    "encode",
    "exported_program",
    "faked",
    "planned_bytes",
    "program_file",
    "require_version",
    "without_code_generation",
]

VERSION = "1.5.1"
BACKEND = "XnnpackBackend"
# A default value takes no room in the file: there are as many handles as operators.
_NO_HANDLE = 0
_NAME_LENGTH = 16
DELEGATE_CALL = executorch_call_delegate

# Of the delegate's seventeen graph passes those that a graph of core ATen operators can need, in
# the stock order. The others look for patterns of quantized or unusual layers.
_PASSES = [
    ConvertToLinearPass,
    FuseActivationPass,
    DecomposeConcatenate,
    RemoveGetItemPass,
    ChannelsLastTaggedReshapePass,
    RemoveRedundantCopyPass,
]

# Nothing is verified or decomposed again: the graphs are in the right dialect by construction.
_COMPILE = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)


def require_version() -> None:
    """Stop before any private interface is used when executorch is not the pinned version.

    Raises:
        ToolMissing: executorch is absent or has another version.
    """
    try:
        found = version("executorch")
    except PackageNotFoundError:
        found = "none"
    if found.split("+")[0] != VERSION:
        raise ToolMissing(
            f"executorch {VERSION} (found: {found})", f"pip install executorch=={VERSION}"
        )


@contextlib.contextmanager
def without_code_generation() -> Iterator[None]:
    """Within, editing a graph module writes no Python code for its forward.

    ``GraphModule.recompile`` prints and compiles a function of as many lines as the graph has
    nodes on every edit, which is most of the time of stock lowering; interpreters never need it.
    """
    recompile = fx.GraphModule.recompile

    def interpret(module: fx.GraphModule) -> None:
        if isinstance(module.graph._codegen, _PyTreeCodeGen):
            # A pattern of one of the delegate's passes: small, and its signature is needed.
            recompile(module)
            return

        def forward(self: fx.GraphModule, *arguments: Any) -> Any:
            return fx.Interpreter(self).run(*arguments, enable_io_processing=False)

        module._code = ""
        # fx gives every graph module a class of its own, so this touches no other module.
        type(module).forward = forward

    fx.GraphModule.recompile = interpret  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        fx.GraphModule.recompile = recompile  # type: ignore[method-assign]


@contextlib.contextmanager
def _type_hints_once() -> Iterator[None]:
    """Within, the serializer looks up the types of a record's fields once per class.

    It does so for each record otherwise, which was two thirds of the time of lowering.
    """
    look_up = serialization.get_type_hints
    serialization.get_type_hints = functools.cache(look_up)
    try:
        yield
    finally:
        serialization.get_type_hints = look_up


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Within, the library may use what Python and torch have deprecated: its version is pinned."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


@functools.cache
def edge_operator(operator: torch._ops.OpOverload) -> Any:
    """The runtime dialect's form of a core ATen (or quantized_decomposed) operator.

    Raises:
        AttributeError: the dialect has no such operator.
    """
    namespace, name = operator._schema.name.split("::")
    packet = getattr(getattr(edge_operators.edge, namespace), name)
    return getattr(packet, operator._overloadname)


class _CachedSignature(ExportGraphSignature):
    """A signature whose name tables are made once.

    torch makes them anew on every access, and the delegate asks for them at every node: that alone
    would be quadratic.
    """

    @functools.cached_property
    def inputs_to_parameters(self) -> Mapping[str, str]:
        return MappingProxyType(dict(super().inputs_to_parameters))

    @functools.cached_property
    def inputs_to_buffers(self) -> Mapping[str, str]:
        return MappingProxyType(dict(super().inputs_to_buffers))

    @functools.cached_property
    def inputs_to_lifted_tensor_constants(self) -> Mapping[str, str]:
        return MappingProxyType(dict(super().inputs_to_lifted_tensor_constants))


def exported_program(
    root: torch.nn.Module, graph: fx.Graph, constants: Mapping[str, Tensor]
) -> ExportedProgram:
    """An exported program directly from a graph, without tracing.

    Placeholders named in ``constants`` become its buffers and come before the others, which are
    the inputs; the output node has one flat tuple.
    """
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    results: Any = graph.output_node().args[0]
    outputs = tuple(results)
    inputs = [node for node in placeholders if node.name not in constants]
    kinds = [
        InputSpec(InputKind.BUFFER, TensorArgument(node.name), node.name, persistent=True)
        if node.name in constants
        else InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None)
        for node in placeholders
    ]
    produced = [
        OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in outputs
    ]
    call = ModuleCallSignature(
        inputs=[],
        outputs=[],
        in_spec=pytree.tree_flatten((tuple(range(len(inputs))), {}))[1],
        out_spec=pytree.tree_flatten(tuple(range(len(outputs))))[1],
    )
    module = fx.GraphModule(root, graph)
    return ExportedProgram(
        root=module,
        graph=module.graph,
        graph_signature=_CachedSignature(kinds, produced),
        state_dict={
            node.name: constants[node.name] for node in placeholders if node.name in constants
        },
        range_constraints={},
        module_call_graph=[ModuleCallEntry("", call)],
        constants={},
        verifiers=[EXIREdgeDialectVerifier(edge_compile_config=_COMPILE, class_only=True)],
    )


class Refusals:
    """The delegate's own rules: which nodes it takes, and its reason when it does not."""

    _REPORTERS = tuple(
        module.why for module in (gemm_configs, generic_node_configs, node_configs, xnnpack_config)
    )

    def __init__(self, program: ExportedProgram) -> None:
        # Linear layers with computed weights: int8 weights are dequantized in the graph, and a
        # backward pass multiplies two activations.
        partitioner = XnnpackPartitioner(force_non_static_weights_for_f32_linear=True)
        self._rules = partitioner.target_partitioner_configs
        self._program = program

    def knows(self, node: fx.Node) -> bool:
        """Whether the delegate has the operator at all."""
        return _short_name(node) in self._rules

    def accepts(self, node: fx.Node) -> bool:
        """Whether the delegate takes this node."""
        rule = self._rules.get(_short_name(node))
        return rule is not None and bool(rule.check_constraints(node, self._program))

    def companions(self, node: fx.Node) -> list[fx.Node]:
        """The other operators that have to be in the same delegate as an accepted node."""
        rule = self._rules[_short_name(node)]
        found = rule.get_node_and_deps(node, self._program)
        return [other for other in found if other.op == "call_function" and other is not node]

    def reason(self, node: fx.Node) -> str:
        """What the delegate said about a node that it just refused, or an empty string."""
        said = (reporter.reason for reporter in self._REPORTERS if reporter.node is node)
        return next(said, "")


def _short_name(node: fx.Node) -> str:
    """An operator's name as the delegate's rules spell it: without the name space."""
    name = str(getattr(node.target, "__name__", node.target))
    return name.partition(".")[2] if name.count(".") > 1 else name


class ConstantStore(NamedDataStore):
    """The file's constants by the hash of their bytes: one store for all delegates of all programs.

    The stock way keeps one store per delegate, each with its own copies, and hashes every entry
    again when they are merged. Names are the first 64 bits of the hash, since every use of a
    constant repeats its name in the file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._full_names: dict[str, str] = {}

    @staticmethod
    def short(name: str) -> str:
        """The name in the file of the constant that the delegate calls ``name``."""
        return name[:_NAME_LENGTH]

    def add_named_data(
        self,
        key: str,
        data: Any,
        alignment: int | None = 1,
        external_tag: str | None = None,
        tensor_layout: Any = None,
    ) -> None:
        if self._full_names.setdefault(self.short(key), key) != key:
            raise ValueError(f"two constants have the name {self.short(key)}")
        if self.short(key) not in self.pte_data:
            super().add_named_data(self.short(key), data, alignment, external_tag, tensor_layout)

    @property
    def bytes(self) -> int:
        """Bytes of all constants, each counted once."""
        return sum(map(len, self.buffers))


def encode(
    program: ExportedProgram, graph: fx.Graph, store: ConstantStore, *, passes: bool
) -> bytes:
    """One chunk in the delegate's format; its constants go to the store.

    ``graph`` has placeholders for constants (buffers of ``program``, by name) and for inputs.
    ``passes`` runs the delegate's own graph passes first; they retrace the graph, so they are left
    out where no operator of the chunk needs them.
    """
    if passes:
        with_constants = {
            node.name: program.state_dict[node.name]
            for node in graph.nodes
            if node.op == "placeholder" and node.name in program.state_dict
        }
        faked(graph)
        program = exported_program(torch.nn.Module(), graph, with_constants)
        with _without_deprecations():
            program = XNNPACKPassManager(program, _PASSES).transform()
        graph = program.graph_module.graph
    external = generate_node_to_external_map(program, fx.GraphModule(torch.nn.Module(), graph))
    encoded = XNNGraph(
        version="0",
        xnodes=[],
        xvalues=[],
        num_externs=len(external),
        input_ids=[],
        output_ids=[],
        constant_data=[ConstantDataOffset(0, 0)],
    )
    visitors = get_node_visitors(program, external, store)
    identifiers: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            visitors[node.target.__name__].define_node(node, encoded, identifiers, _NO_HANDLE)
    for constant in encoded.constant_data:
        constant.named_key = store.short(constant.named_key)
    with _type_hints_once():
        return bytes(serialize_xnnpack_binary(encoded, bytearray()))


def faked(graph: fx.Graph) -> None:
    """Give every node a fake tensor for its value, as the runtime's passes want."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def fake(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        with mode:
            return torch.empty(tuple(value.shape), dtype=value.dtype)

    for node in graph.nodes:
        if "val" in node.meta:
            node.meta["val"] = pytree.tree_map(fake, node.meta["val"])


class _Shapes:
    """Stands in for a delegate's source graph: tells the shapes and dtypes of its outputs.

    The runtime's passes ask each delegate for its outputs again and again; the stock way
    interprets the source graph each time.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        # The emitter looks into the graph for debug handles, of which there are none, and outputs.
        self.graph = fx.Graph()
        self.graph.output((None,) * len(outputs))
        self._outputs = [(tuple(value.shape), value.dtype) for value in outputs]

    def module(self) -> Callable[..., tuple[Tensor, ...]]:
        return lambda *_: tuple(torch.empty(shape, dtype=dtype) for shape, dtype in self._outputs)


def delegate_module(encoded: bytes, outputs: Sequence[Tensor]) -> torch.nn.Module:
    """What a graph calls where a chunk was: the encoded chunk and the shapes of its outputs."""
    module = LoweredBackendModule(
        edge_program=_Shapes(outputs),
        backend_id=BACKEND,
        processed_bytes=encoded,
        compile_specs=[],
        named_data_store_output=None,
    )
    module.meta = {"debug_handle_map": {}}
    return module


def _plan(alignment: int, specs: Any, *rest: Any) -> Any:
    """The stock greedy planner on tensors in a fixed order: a set's order differs by process."""
    order = sorted(specs, key=lambda spec: (spec.allocated_memory, *spec.lifetime))
    return greedy(alignment, order, *rest)


def program_file(programs: Mapping[str, ExportedProgram], store: ConstantStore) -> Any:
    """All programs as methods of one file, planned and emitted; ``write_to_file`` writes it."""
    manager = EdgeProgramManager(dict(programs), None, _COMPILE)
    manager._named_data_store = store
    plan = MemoryPlanningPass(memory_planning_algo=MemoryPlanningAlgorithmSuite([_plan]))
    with _without_deprecations(), _type_hints_once():
        return manager.to_executorch(ExecutorchBackendConfig(memory_planning_pass=plan))


def planned_bytes(file: Any) -> dict[str, int]:
    """The planned arena of each method of a program file, in bytes."""
    plans = file.executorch_program.execution_plan
    return {plan.name: sum(plan.non_const_buffer_sizes) for plan in plans}

"""What the graph of an ONNX file may hold: plain operators, and weights inside the file.

onnxruntime has operators that run other graphs or loop. Our exports need none of these. A hostile
file can still ask for more memory than there is, such as with Pad or Resize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledcli.zoo.spec import short

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATORS = frozenset(
    "Add Cast Clip Concat Constant Conv ConvTranspose DepthToSpace Div Erf "  # noqa: SIM905
    "Gather Gelu GlobalAveragePool Identity LayerNormalization LeakyRelu MatMul MaxPool Mod "
    "Mul Pad Pow ReduceL2 ReduceMean ReduceSum Relu Reshape Resize Shape Sigmoid Slice "
    "Softmax Split Sqrt Squeeze Sub Transpose Unsqueeze".split()
)
"""Of the default domain: those of our networks, and what other torch versions make of them."""
_DOMAINS = ("", "ai.onnx")
_FIELDS = frozenset("name type doc_string f i s t floats ints strings tensors".split())  # noqa: SIM905
"""Fields that an attribute may have: values, but no graphs and no sparse tensors."""


def foreign_part(model: ModelProto) -> str | None:
    """Return what led would not have written, as the end of a sentence; None if all is its own."""
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer:
        return "has functions, training steps or sparse weights"
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in _DOMAINS or node.op_type not in OPERATORS:
            return f"has the operator {short(node.op_type)}, which no network of led has"
        for attribute in node.attribute:
            if any(field.name not in _FIELDS for field, _ in attribute.ListFields()):
                return f"has a graph or a sparse tensor inside '{node.op_type}'"
            tensors += [attribute.t, *attribute.tensors]
    if any(tensor.external_data or tensor.data_location for tensor in tensors):
        # The ONNX file would decide which file that is.
        return "keeps its weights in another file"
    return None

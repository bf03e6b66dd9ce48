"""Attention that computes one head and a few queries at a time, for a small memory.

Softmax attention (Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, equation 1). The
full matrix of probabilities of a Stable Diffusion layer at 64x64 latents has 8 x 4096 x 4096
elements. Here it exists only for one sample, one head and one chunk of queries, and the backward
pass computes it again from the queries and keys; saved are the queries, keys, values and the output
(the row sums of Dao et al., "FlashAttention", arXiv 2205.14135, section B.4, replace the saved
probabilities). All products are of two matrices, which a runtime's delegate runs without a copy of
its own; a batched product makes it keep a packed right-hand side for every operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pockettune.errors import ModelUnsupported

__all__ = ["LeanAttentionProcessor", "attention"]


def _chunk_rows(queries: int, keys: int, max_elements: int) -> int:
    """The number of queries at a time: ``queries`` halved until a score matrix fits."""
    rows = queries
    while rows * keys > max_elements and rows % 2 == 0:
        rows //= 2
    return rows


def _concatenate(parts: list[Tensor], dimension: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dimension)


class _Attention(torch.autograd.Function):
    """The core on flat tensors; see :func:`attention`."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        samples: int,
        heads: int,
        max_elements: int,
    ) -> Tensor:
        queries, keys, width = (
            query.shape[0] // samples,
            key.shape[0] // samples,
            query.shape[1] // heads,
        )
        rows = _chunk_rows(queries, keys, max_elements)
        outputs = []
        for sample in range(samples):
            columns = []
            for head in range(heads):
                here = slice(head * width, (head + 1) * width)
                at_keys = slice(sample * keys, (sample + 1) * keys)
                key_head, value_head = key[at_keys, here], value[at_keys, here]
                chunks = []
                for start in range(sample * queries, (sample + 1) * queries, rows):
                    scores = torch.mm(query[start : start + rows, here], key_head.t())
                    chunks.append(torch.mm(torch.softmax(scores, -1), value_head))
                columns.append(_concatenate(chunks, 0))
            outputs.append(_concatenate(columns, 1))
        output = _concatenate(outputs, 0)
        ctx.save_for_backward(query, key, value, output)
        ctx.layout = (samples, heads, rows)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output = ctx.saved_tensors
        samples, heads, rows = ctx.layout
        queries, keys, width = (
            query.shape[0] // samples,
            key.shape[0] // samples,
            query.shape[1] // heads,
        )
        row_sums = (gradient * output).reshape(-1, heads, width).sum(-1)
        by_sample: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for sample in range(samples):
            by_head: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
            for head in range(heads):
                here = slice(head * width, (head + 1) * width)
                at_keys = slice(sample * keys, (sample + 1) * keys)
                key_head, value_head = key[at_keys, here], value[at_keys, here]
                d_query: list[Tensor] = []
                d_key: Tensor | None = None
                d_value: Tensor | None = None
                for start in range(sample * queries, (sample + 1) * queries, rows):
                    at_queries = slice(start, start + rows)
                    query_chunk = query[at_queries, here]
                    gradient_chunk = gradient[at_queries, here]
                    probabilities = torch.softmax(torch.mm(query_chunk, key_head.t()), -1)
                    sums = row_sums[at_queries, head : head + 1]
                    d_probabilities = torch.mm(gradient_chunk, value_head.t())
                    d_scores = (d_probabilities - sums) * probabilities
                    d_query.append(torch.mm(d_scores, key_head))
                    # Transposed, so that the large matrix is the right-hand side: a left one would
                    # be copied to be transposed.
                    part = torch.mm(query_chunk.t(), d_scores)
                    d_key = part if d_key is None else d_key + part
                    part = torch.mm(gradient_chunk.t(), probabilities)
                    d_value = part if d_value is None else d_value + part
                by_head[0].append(_concatenate(d_query, 0))
                by_head[1].append(d_key)  # type: ignore[arg-type]  # there is a chunk
                by_head[2].append(d_value)  # type: ignore[arg-type]
            by_sample[0].append(_concatenate(by_head[0], 1))
            for total, transposed in zip(by_sample[1:], by_head[1:], strict=True):
                total.append(_concatenate(transposed, 0).t())
        d_all = [_concatenate(parts, 0) for parts in by_sample]
        return d_all[0], d_all[1], d_all[2], None, None, None


def attention(
    query: Tensor, key: Tensor, value: Tensor, *, samples: int, heads: int, max_elements: int
) -> Tensor:
    """Softmax attention without a scale: ``softmax(query @ key.T) @ value`` by sample and head.

    ``query`` is ``[samples * queries, heads * width]``, already multiplied with ``width ** -0.5``;
    ``key`` and ``value`` are ``[samples * keys, heads * width]``; all of one floating dtype. The
    result has the query's shape. At most ``max_elements`` scores exist at a time (as far as the
    number of queries can be halved).
    """
    return _Attention.apply(query, key, value, samples, heads, max_elements)


class LeanAttentionProcessor:
    """A diffusers attention processor around :func:`attention`.

    Serves self- and cross-attention of a U-Net (``[batch, tokens, channels]``) and the attention of
    an autoencoder's middle (``[batch, channels, height, width]`` with group norm and residual).
    """

    def __init__(self, max_elements: int) -> None:
        self.max_elements = max_elements

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,  # noqa: ARG002  (diffusers passes it to every processor)
    ) -> Tensor:
        if attention_mask is not None:
            raise ModelUnsupported("attention mask", tuple(attention_mask.shape), "none")
        residual, image_shape = hidden_states, None
        if hidden_states.ndim == 4:
            image_shape = hidden_states.shape
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        samples, tokens, channels = hidden_states.shape
        flat = hidden_states.reshape(samples * tokens, channels)
        source = flat
        if encoder_hidden_states is not None:
            source = encoder_hidden_states.reshape(-1, encoder_hidden_states.shape[-1])
        query, key, value = attn.to_q(flat), attn.to_k(source), attn.to_v(source)
        output = attention(
            query * (query.shape[1] // attn.heads) ** -0.5,
            key,
            value,
            samples=samples,
            heads=attn.heads,
            max_elements=self.max_elements,
        )
        output = attn.to_out[1](attn.to_out[0](output)).reshape(samples, tokens, -1)
        if image_shape is not None:
            output = output.transpose(1, 2).reshape(image_shape)
        if attn.residual_connection:
            output = output + residual
        return output if attn.rescale_output_factor == 1 else output / attn.rescale_output_factor

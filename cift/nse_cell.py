"""The recurrence of the Neural Semantic Encoder, with its gradient, in few and large operations.

`lstm` runs over sentences of different lengths; in `read_compose_write` each step first reads the memory, and then
writes the LSTM's new state into it. Three things make them faster than a loop under autograd (benchmarks/nse_plain.py):

- Sentences are sorted by length, so that step t works on the sentences that still have a token t, and on no padding.
- The backward pass is written out. Only what one step owes to the next is computed step by step; the gradients of the
  weights are one matrix product over all steps.
- The memory is never stored. After t steps M = a ∘ M₀ + C H, where a (slots) and C (slots, t) say how much of their
  start and of each state written so far, H (t, k), is left in the slots. Reading and writing touch a, C and H.

All sizes: N sentences, T steps, P tokens in all, S slots, J memories side by side, k features. "packed" is a tensor
with a row a token: those of step 0 in the order of the sorted sentences, then those of step 1, ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass
class Steps:
    """Which sentences are read at which step.

    order: (N,) the sentences, longest first; live: how many of them have a token t, for each t; token: (P,) where a
    packed row's token lies in the flattened mask; row, step: (P,) its sorted sentence and its place there; last: (N,)
    the packed row of each sentence's last token, and lengths: (N,), in the sentences' own order.
    """

    order: Tensor
    live: list[int]
    token: Tensor
    row: Tensor
    step: Tensor
    last: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> Steps:
        """The steps over the True tokens of a mask (N, tokens), of which each row has at least one."""
        lengths = mask.sum(1)
        order = lengths.argsort(descending=True, stable=True)
        places = (~mask).long().argsort(dim=1, stable=True)[order] + (order * mask.shape[1])[:, None]
        open_ = torch.arange(int(lengths.max()), device=mask.device)[:, None] < lengths[order]
        step, row = open_.nonzero(as_tuple=True)
        live = open_.sum(1)
        first = live.cumsum(0) - live
        position = order.argsort()
        return cls(order, live.tolist(), places[row, step], row, step, first[lengths - 1] + position, lengths)

    def rows(self) -> list[slice]:
        """The packed rows of each step."""
        ends = torch.tensor(self.live).cumsum(0).tolist()
        return [slice(end - n, end) for end, n in zip(ends, self.live, strict=True)]

    def pad(self, packed: Tensor) -> Tensor:
        """(P, k) -> (N, T, k), sorted sentences, zeros behind each sentence's end."""
        n, t = self.live[0], len(self.live)
        padded = packed.new_zeros(n * t, packed.shape[1])
        return padded.index_copy(0, self.row * t + self.step, packed).view(n, t, -1)

    def pack(self, padded: Tensor) -> Tensor:
        """(N, T, k) -> (P, k)."""
        return padded.flatten(0, 1).index_select(0, self.row * padded.shape[1] + self.step)

    def present(self) -> Tensor:
        """(N, T): which places of the sorted sentences hold a token."""
        return torch.arange(len(self.live), device=self.order.device) < self.lengths[self.order][:, None]

    def unsort(self, rows: Tensor) -> Tensor:
        """Rows of the sorted sentences, in the sentences' own order."""
        return rows[self.order.argsort()]


class _Memory:
    """What is written and read during one recurrence: M = a ∘ M₀ + C H. Its gradients run the same steps backwards."""

    def __init__(self, start: Tensor, closed: Tensor, queries: Tensor, steps: Steps) -> None:
        (n, slots, k), t = start.shape, len(steps.live)
        self.start, self.closed, self.steps = start, closed, steps
        self.queries = steps.pad(queries.to(start.dtype))
        self.products = self.queries @ start.mT  # (N, T, S): M₀ o of all steps
        self.a, self.c = start.new_ones(n, slots), start.new_zeros(n, slots, t)
        self.states = start.new_zeros(n, t, k)
        self.saved: list[tuple[Tensor, ...]] = []

    def read(self, t: int) -> Tensor:
        """m = Mᵀ z with z = softmax(M o), for each of the J memories; (live, J k)."""
        n = self.steps.live[t]
        a, c, states = self.a[:n].clone(), self.c[:n, :, :t].clone(), self.states[:n, :t]
        q = self.queries[:n, t : t + 1] @ states.mT  # (n, 1, t): H o
        scores = a[:, None] * self.products[:n, t : t + 1] + q @ c.mT
        z = (scores + self.closed[:n]).softmax(-1)  # (n, J, S)
        self.saved.append((a, c, q, z))
        return torch.baddbmm((a[:, None] * z) @ self.start[:n], z @ c, states).flatten(1)

    def write(self, t: int, h: Tensor) -> None:
        """M[i] ← (1 − z_i) M[i] + z_i h, by each memory's own z."""
        n, z = len(h), self.saved[t][-1].sum(1)  # a slot belongs to one memory
        self.states[:n, t] = h
        self.a[:n] *= 1 - z
        self.c[:n, :, :t] *= (1 - z)[..., None]
        self.c[:n, :, t] = z

    def start_backward(self, grad_a: Tensor, grad_c: Tensor) -> None:
        (n, t, k), (_, memories, slots) = self.states.shape, self.closed.shape
        self.grad_a = grad_a.clone()
        self.grad_c = grad_c.clone()
        self.grad_products = self.start.new_zeros(n, t, slots)
        self.weights = self.start.new_zeros(n, t, memories, slots)  # a ∘ z: what is read of M₀
        # a state h_s gets its gradient from the steps t after it: of m_t by what t read of it, of q_t by o_t
        self.sources = torch.cat([self.start.new_zeros(n, t, memories, k), self.queries[:, :, None]], dim=2)
        self.shares = self.start.new_zeros(n, t, t, memories + 1)  # (N, s, t, J + 1)

    def grad_of_state(self, t: int) -> Tensor:
        """The gradient of the state written at step t, from all later reads; (live at t + 1, k)."""
        n = self.steps.live[t + 1] if t + 1 < len(self.steps.live) else 0
        return (self.shares[:n, t, t + 1 :].flatten(1)[:, None] @ self.sources[:n, t + 1 :].flatten(1, 2))[:, 0]

    def read_backward(self, t: int, grad_m: Tensor) -> None:
        """From the gradient of what step t read, (live, J k), to those of a, C and o, and of the states before t."""
        a, c, q, z = self.saved[t]
        n, states = len(a), self.states[: len(a), :t]
        grad_m = grad_m.view(n, z.shape[1], -1)
        grad_a, grad_c = self.grad_a[:n], self.grad_c[:n, :, :t]
        kept = 1 - z.sum(1)
        # m = (a ∘ z)ᵀ M₀ + (z C) H
        grad_u, grad_v = grad_m @ self.start[:n].mT, grad_m @ states.mT
        # a ← (1 − z) a, C ← [(1 − z) C, z]
        written = self.grad_c[:n, :, t] - a * grad_a - (c * grad_c).sum(-1)
        grad_z = a[:, None] * grad_u + grad_v @ c.mT + written[:, None]
        # z = softmax(a ∘ M₀ o + C H o)
        grad_scores = (z * (grad_z - (z * grad_z).sum(-1, keepdim=True))).sum(1)
        self.grad_a[:n] = kept * grad_a + (z * grad_u).sum(1) + self.products[:n, t] * grad_scores
        self.grad_c[:n, :, :t] = kept[..., None] * grad_c + z.mT @ grad_v + grad_scores[..., None] * q
        self.grad_products[:n, t] = a * grad_scores
        self.weights[:n, t] = a[:, None] * z
        self.sources[:n, t, :-1] = grad_m
        self.shares[:n, :t, t, :-1] = (z @ c).mT
        self.shares[:n, :t, t, -1] = (grad_scores[:, None] @ c)[:, 0]

    def grad_of_queries(self) -> Tensor:
        """(P, k)"""
        grad = self.grad_products @ self.start + self.shares[..., -1].mT @ self.states
        return self.steps.pack(grad)

    def grad_of_start(self) -> Tensor:
        """(N, S, k)"""
        read = self.weights.flatten(1, 2).mT @ self.sources[:, :, :-1].flatten(1, 2)
        return self.grad_products.mT @ self.queries + read


def _lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gates (i, f, g, o) and the cell after an LSTM step, and tanh of the cell: h is o times that."""
    gates = gates.to(cell.dtype, copy=True)
    i, f, g, o = gates.chunk(4, dim=1)
    g.mul_(2)  # tanh(x) = 2 σ(2x) − 1: on the CPU, torch's tanh takes ten times as long as its sigmoid
    gates.sigmoid_()
    g.mul_(2).sub_(1)
    cell = torch.addcmul(f * cell, i, g)
    return gates, cell, (2 * cell).sigmoid_().mul_(2).sub_(1)


def _lstm_backward(
    gates: Tensor, before: Tensor, squashed: Tensor, grad_h: Tensor, grad_cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of what the gates are σ and tanh of, and of the cell before; σ' = σ (1 − σ), tanh' = 1 − tanh²."""
    i, f, g, o = gates.chunk(4, dim=1)
    grad_cell = grad_cell + grad_h * o * (1 - squashed**2)
    grad = torch.stack([grad_cell * g, grad_cell * before, grad_cell * i, grad_h * squashed], dim=1)
    slope = (gates * (1 - gates)).view_as(grad)
    slope[:, 2] = 1 - g**2
    return (grad * slope).flatten(1), grad_cell * f


class _Recurrence(torch.autograd.Function):
    """The loop over the steps. What autograd would do for each step is done for all of them, where that is possible."""

    @staticmethod
    def forward(ctx, steps, closed, kept, base, weight, start, queries, composed, compose):  # type: ignore[override]
        dtype = torch.promote_types(base.dtype, torch.float32)  # of what is carried from step to step
        k = weight.shape[0] // 4
        memory = None if start is None else _Memory(start.to(dtype), closed, queries, steps)
        inputs = base.new_empty(len(base), weight.shape[1])  # (P, what is read, and the state before)
        output = base.new_empty(len(base), k)
        reads, saved = [], []
        cell = torch.zeros(steps.live[0], k, dtype=dtype, device=base.device)
        state = output.new_zeros(steps.live[0], k)
        for t, rows in enumerate(steps.rows()):
            n = steps.live[t]
            inputs[rows, -k:] = state[:n]
            if memory:
                m = memory.read(t).to(base.dtype)
                reads.append(m)
                m = torch.addmm(composed[rows], m, compose.T)
                inputs[rows, :-k] = m if kept is None else m * kept[rows]
            gates, after, squashed = _lstm(torch.addmm(base[rows], inputs[rows], weight.T), cell[:n])
            saved.append((gates, cell[:n], squashed))
            h = gates[:, -k:] * squashed
            output[rows] = h
            if memory:
                memory.write(t, h)
            cell, state = after, output[rows]
        ctx.all = steps, kept, weight, compose, memory, inputs, reads, saved
        # copies: what autograd hands out may not be held by what autograd keeps, or neither would ever be freed
        return (output, memory.a.clone(), memory.c.clone()) if memory else output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output, grad_a=None, grad_c=None):  # type: ignore[override]
        steps, kept, weight, compose, memory, inputs, reads, saved = ctx.all
        k = weight.shape[0] // 4
        cell = saved[0][1]
        grad_base = inputs.new_empty(len(inputs), 4 * k)
        grad_composed = inputs.new_empty(len(inputs), inputs.shape[1] - k)
        if memory:
            memory.start_backward(grad_a, grad_c)
        grad_state, grad_cell = torch.zeros_like(cell), torch.zeros_like(cell)
        for t, rows in reversed(list(enumerate(steps.rows()))):
            n = steps.live[t]
            grad_h = grad_state[:n] + grad_output[rows]
            if memory:
                later = memory.grad_of_state(t)
                grad_h[: len(later)] += later
            gates, before, squashed = saved[t]
            grad_base[rows], grad_cell[:n] = _lstm_backward(gates, before, squashed, grad_h, grad_cell[:n])
            grad_input = grad_base[rows] @ weight
            grad_state[:n] = grad_input[:, -k:]
            if memory:
                grad_m = grad_input[:, :-k]
                grad_composed[rows] = grad_m if kept is None else grad_m * kept[rows]
                memory.read_backward(t, (grad_composed[rows] @ compose).to(cell.dtype))
        grads = None, None, None, grad_base, grad_base.T @ inputs
        if memory is None:
            return *grads, None, None, None, None
        start = memory.grad_of_start() if ctx.needs_input_grad[5] else None
        return *grads, start, memory.grad_of_queries(), grad_composed, grad_composed.T @ torch.cat(reads)


def side_by_side(slots: Sequence[Tensor]) -> Tensor:
    """What `read_compose_write` takes as closed, from which slots of each memory hold a word, (N, slots) each."""
    open_ = torch.zeros(len(slots[0]), len(slots), sum(s.shape[1] for s in slots), dtype=torch.bool)
    open_ = open_.to(slots[0].device)
    start = 0
    for j, present in enumerate(slots):
        open_[:, j, start : start + present.shape[1]] = present
        start += present.shape[1]
    return torch.zeros(open_.shape, device=open_.device).masked_fill(~open_, float("-inf"))


def _exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without autocast, which would convert weights at every step; not compiled, as the loop's length varies."""

    @torch.compiler.disable
    @functools.wraps(function)
    def inner(inputs: Tensor, *rest: Any) -> Any:
        with torch.autocast(inputs.device.type, enabled=False):
            return function(inputs, *rest)

    return inner


@_exactly
def lstm(inputs: Tensor, weight: Tensor, steps: Steps) -> Tensor:
    """The states of an LSTM, packed (P, k).

    inputs: (P, 4k), the inputs' share in the gates, i, f, g, o as in `torch.nn.LSTMCell`, biases included;
    weight: (4k, k), the states' share. Products are taken in their dtype, cell and gates are float32 at least.
    """
    return _Recurrence.apply(steps, None, None, inputs, weight, None, None, None, None)


@_exactly
def read_compose_write(
    composed: Tensor,
    compose: Tensor,
    kept: Tensor | None,
    bias: Tensor,
    weight: Tensor,
    queries: Tensor,
    start: Tensor,
    closed: Tensor,
    steps: Steps,
) -> tuple[Tensor, Tensor, Tensor]:
    """The written states h, packed (P, k), with a (N, S) and C (N, S, T), what the memories are made of at the end.

    At each step z = softmax(M o), m = Mᵀ z, c = kept ∘ (composed + compose m), h = LSTM([c; h]), and
    M[i] ← (1 − z_i) M[i] + z_i h; with J memories side by side each has its own z and m.

    composed: (P, c) = W_o o + b; compose: (c, J k) = W_m; kept: (P, c), the dropout of c, None for none.
    bias: (4k,) and weight: (4k, c + k), the LSTM's. queries: (P, k), the o. start: (N, S, k), the memories at first.
    closed: (N, J, S), -inf where a slot is not one of that memory's (or padding), else 0.
    """
    base = bias.expand(len(composed), -1)
    return _Recurrence.apply(steps, closed, kept, base, weight, start, queries, composed, compose)


def memory_after(start: Tensor, a: Tensor, c: Tensor, h: Tensor, steps: Steps) -> Tensor:
    """The memories at the end of each sentence, (N, S, k): a ∘ M₀ + C H."""
    return a[..., None] * start + c @ steps.pad(h.to(c.dtype))

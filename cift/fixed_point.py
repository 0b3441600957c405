"""The fixed point of an iteration: EM, accelerated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-5  # largest change of a parameter in one iteration
MAX_ITERATIONS = 1000
MEMORY = 6  # iterations that Anderson acceleration looks back on


@dataclass(frozen=True)
class Solution:
    """Where an iteration ended.

    state, expected: the estimate, and the E step at it. change: the last, largest change. grid: nodes and log weights.
    """

    state: Tensor
    expected: Any
    change: float
    iterations: int
    grid: tuple[Tensor, Tensor]


def solve(answers: Any, problem: Any) -> Solution:
    """Iterate `problem.step` from `problem.start` until nothing changes; again if the result asks for a finer grid.

    problem: `cift.marginal.Problem` or the nominal model's, with `start`, `quadrature`, `step` and `ran_away`.
    """
    state = problem.start(answers)
    grid = tuple(torch.as_tensor(part, device=state.device) for part in problem.quadrature(answers, state))
    iterations = 0
    while True:
        nodes, log_weights = grid
        step = partial(problem.step, answers, nodes, log_weights)
        state, expected, change, steps = _accelerated(step, state, problem.ran_away)
        iterations += steps
        finer = tuple(torch.as_tensor(part, device=state.device) for part in problem.quadrature(answers, state))
        if len(finer[0]) <= 1.25 * len(nodes) or change >= TOLERANCE:
            return Solution(state, expected, change, iterations, (nodes, log_weights))
        grid = finer


def _accelerated(
    step: Callable[[Tensor], tuple[Tensor, Any]], state: Tensor, ran_away: Callable[[Tensor], bool]
) -> tuple[Tensor, Any, float, int]:
    """The state that a step leaves alone, its E step, the last change and the number of steps.

    By Anderson acceleration (Walker & Ni 2011).

    Where an accelerated state turns out worse than the one before it, the plain step is taken instead.
    """
    states: list[Tensor] = []
    changes: list[Tensor] = []
    plain, last = state, np.inf
    iteration = 0
    while True:
        iteration += 1
        stepped, expected = step(state)
        change = stepped - state
        size, norm = float(change.abs().max()), float(change.norm())
        if size < TOLERANCE or iteration == MAX_ITERATIONS or not np.isfinite(size) or ran_away(state):
            return state, expected, size, iteration
        if norm > 2 * last:
            states, changes, state, last = [], [], plain, np.inf
            continue
        plain, last = stepped, norm
        states, changes = [*states[-MEMORY:], state], [*changes[-MEMORY:], change]
        state = plain
        if len(states) > 1:
            back = torch.stack([change - one for one in changes[:-1]], 1)
            gram = back.T @ back
            gram.diagonal().add_(1e-10 * gram.diagonal().mean())
            mix = torch.linalg.solve(gram, back.T @ change)
            mixed = plain - (back + torch.stack([states[-1] - one for one in states[:-1]], 1)) @ mix
            if (mixed - plain).abs().max() < 1:
                state = mixed

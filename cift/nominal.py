"""The nominal response model (Bock 1972): which wrong answer people of which ability choose.

For an item with labels k, of which the gold one has slope and intercept 0,

    P(label k | theta) = exp(slope_k theta + intercept_k) / sum over the item's labels.

A negative slope is the usual case: the more able a person, the less likely that wrong label. Calibrated like the
other models (`cift.marginal`), with a multinomial in place of a binomial M step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cift.curves import spaced
from cift.expectation import BLOCK, Posterior, posterior_of
from cift.fixed_point import TOLERANCE, solve
from cift.marginal import RUNAWAY
from cift.uncertainty import roots, unknown_exactly, with_population

RIDGE = 0.01  # precision of a normal prior around 0: a label that hardly anyone chose keeps finite parameters
NEVER = -30.0  # the intercept of a label that nobody chose


class NominalFit(NamedTuple):
    """slope, intercept and their standard errors, (items, labels), gold first; people's EAP and its error; a report."""

    slope: np.ndarray
    intercept: np.ndarray
    slope_se: np.ndarray
    intercept_se: np.ndarray
    theta: np.ndarray
    theta_se: np.ndarray
    report: dict


class _Expected(NamedTuple):
    """trials (items, nodes) and chosen (items, labels, nodes), expected counts; the posterior's summaries."""

    trials: Tensor
    chosen: Tensor
    weight: Tensor
    theta: Tensor
    theta_se: Tensor
    log_likelihood: float


def fit(index: np.ndarray, n_labels: int, device: str = "cpu") -> NominalFit:
    """Calibrate. index: (people, items), the chosen label, 0 the gold one, -1 missing."""
    answers = torch.from_numpy(index.astype(np.int16)).to(device)
    chosen = torch.stack([(answers == k).sum(0) for k in range(n_labels)], 1)
    problem = _Problem(n_labels, chosen > 0)
    solution = solve(answers, problem)
    state = solution.state
    nodes, log_weights = solution.grid
    expected = solution.expected
    errors = problem.errors(answers, expected, state, nodes, log_weights)
    y = problem.parameters(state)
    sign = 1.0
    if float((y[:, 1:, 0] * chosen[:, 1:]).sum()) > 0:  # the able are those who choose the gold labels
        sign = -1.0
    report = {
        "log_likelihood": expected.log_likelihood,
        "iterations": solution.iterations,
        "converged": solution.change < TOLERANCE,
        "largest_change": solution.change,
        "nodes": len(nodes),
        "priors": {"slope, intercept": [0.0, RIDGE**-0.5]},
    }
    slope, intercept, slope_se, intercept_se, theta, theta_se = (
        part.cpu().numpy()
        for part in (
            sign * y[..., 0],
            y[..., 1],
            errors[..., 0],
            errors[..., 1],
            sign * expected.theta,
            expected.theta_se,
        )
    )
    return NominalFit(slope, intercept, slope_se, intercept_se, theta, theta_se, report)


@dataclass(frozen=True)
class _Problem:
    """What is estimated, as a flat vector: slope and intercept of each item's labels but the gold one.

    used: (items, labels), whether anyone chose the label; the others stay at slope 0, intercept NEVER.
    """

    n_labels: int
    used: Tensor

    def parameters(self, state: Tensor) -> Tensor:
        """(items, labels, 2): slope and intercept, gold first with zeros."""
        y = state.reshape(-1, self.n_labels - 1, 2)
        return torch.cat([torch.zeros_like(y[:, :1]), y], 1)

    def log_curves(self, state: Tensor, nodes: Tensor) -> Tensor:
        """log P of each label: (items, labels, nodes)."""
        y = self.parameters(state)
        return (y[..., :1] * nodes + y[..., 1:]).log_softmax(1)

    def start(self, answers: Tensor) -> Tensor:
        share = torch.stack([(answers == k).double().mean(0) for k in range(self.n_labels)], 1).clamp(min=0.005)
        intercept = (share[:, 1:] / share[:, :1]).log().clamp(-4, 4)
        y = torch.stack([torch.full_like(intercept, -1.0), intercept], -1)
        y[~self.used[:, 1:]] = y.new_tensor([0.0, NEVER])
        return y.flatten()

    def quadrature(self, answers: Tensor, state: Tensor) -> tuple[np.ndarray, np.ndarray]:
        coarse = torch.linspace(-6, 6, 49, dtype=state.dtype, device=state.device)
        p, slope = self.log_curves(state, coarse).exp(), self.parameters(state)[..., :1]
        information = (p * slope**2).sum(1) - (p * slope).sum(1) ** 2
        return spaced(float(information.sum(0).max()))

    def expect(self, answers: Tensor, state: Tensor, nodes: Tensor, log_weights: Tensor) -> _Expected:
        log_p = self.log_curves(state, nodes)
        chosen = torch.zeros_like(log_p)
        found: list[Posterior] = []
        for which, own in self._blocks(answers, log_p, nodes, log_weights):
            for k, one in enumerate(which):
                chosen[:, k] += one.T @ own.weight
            found.append(own._replace(weight=own.weight.sum(0, keepdim=True)))
        theta, variance = (torch.cat([getattr(own, name) for own in found]) for name in ("theta", "variance"))
        weight = torch.cat([own.weight for own in found]).sum(0) / len(answers)
        log_likelihood = float(sum(own.log_marginal.sum() for own in found))
        return _Expected(chosen.sum(1), chosen, weight, theta, variance.clamp(min=0).sqrt(), log_likelihood)

    def _blocks(
        self, answers: Tensor, log_p: Tensor, nodes: Tensor, log_weights: Tensor
    ) -> Iterator[tuple[list[Tensor], Posterior]]:
        """Some people at a time: whether they chose each label, (people, items), and their posteriors."""
        people, items = answers.shape
        rows = max(1, BLOCK // (items + 2 * len(nodes)))
        for start in range(0, people, rows):
            block = answers[start : start + rows]
            which = [(block == k).to(log_p.dtype) for k in range(self.n_labels)]
            log_joint = log_weights + sum(one @ log_p[:, k] for k, one in enumerate(which))
            yield which, posterior_of(log_joint, nodes)

    def posteriors(
        self, answers: Tensor, log_p: Tensor, nodes: Tensor, log_weights: Tensor
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        return ((which, own.weight) for which, own in self._blocks(answers, log_p, nodes, log_weights))

    def scores(self, expected: _Expected, state: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (items, 2 (labels - 1)) and information of each item's expected log-likelihood, less the ridge."""
        p = self.log_curves(state, nodes).exp()[:, 1:]
        powers = torch.stack([nodes, torch.ones_like(nodes)], 1)
        gradient = (expected.chosen[:, 1:] - expected.trials[:, None] * p) @ powers
        information = torch.einsum("jklq,qm,qn->jkmln", _spread(p) * expected.trials[:, None, None], powers, powers)
        return self._with_ridge(gradient.flatten(1), information.flatten(3).flatten(1, 2), state)

    def _with_ridge(self, gradient: Tensor, information: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The prior added; what belongs to a label that nobody chose stays where it is."""
        fixed = ~self.used[:, 1:].repeat_interleave(2, 1)
        gradient = (gradient - RIDGE * state.reshape(gradient.shape)).masked_fill(fixed, 0.0)
        information = information.masked_fill(fixed[:, :, None] | fixed[:, None, :], 0.0)
        return gradient, information + torch.diag_embed(torch.where(fixed, 1.0, RIDGE))

    def step(self, answers: Tensor, nodes: Tensor, log_weights: Tensor, state: Tensor) -> tuple[Tensor, _Expected]:
        expected = self.expect(answers, state, nodes, log_weights)
        gradient, information = self.scores(expected, state, nodes)
        y = state.reshape(-1, self.n_labels - 1, 2).clone()
        y += torch.linalg.solve(information, gradient).clamp(-1, 1).reshape(y.shape)
        center = expected.weight @ nodes
        unit = (expected.weight @ (nodes - center) ** 2).sqrt()
        y[..., 1] += y[..., 0] * center
        y[..., 0] *= unit
        return y.flatten(), expected

    def ran_away(self, state: Tensor) -> bool:
        return bool(state[::2].abs().max() > RUNAWAY)

    def errors(self, answers: Tensor, expected: _Expected, state: Tensor, nodes: Tensor, log_weights: Tensor) -> Tensor:
        """Standard errors of slope and intercept, (items, labels, 2), as in `cift.marginal`; 0 where fixed."""
        _, information = self.scores(expected, state, nodes)
        y = self.parameters(state)
        log_p = self.log_curves(state, nodes)
        powers = torch.stack([nodes, torch.ones_like(nodes)])
        chosen = torch.eye(self.n_labels, dtype=y.dtype, device=y.device)[:, 1:]
        scores = [
            ((one[:, None] - log_p.exp()[:, 1:])[:, :, None] * powers).flatten(1, 2).movedim(1, 0) for one in chosen
        ]
        information = information - unknown_exactly(self.posteriors(answers, log_p, nodes, log_weights), scores)
        mean, sd = torch.zeros_like(y[:, 1:]), torch.zeros_like(y[:, 1:])
        mean[..., 1], sd[..., 0] = y[:, 1:, 0], y[:, 1:, 0]
        covariance = with_population(torch.linalg.inv(information), mean.flatten(1), sd.flatten(1), len(answers))
        free = self.used[:, 1:].repeat_interleave(2, 1)
        errors = roots(covariance.diagonal(dim1=1, dim2=2), free).reshape(mean.shape)
        return torch.cat([torch.zeros_like(errors[:, :1]), errors], 1)


def _spread(p: Tensor) -> Tensor:
    """Covariance of the indicators of the chosen label, P_k (k = l) - P_k P_l: (items, labels, labels, nodes)."""
    return torch.diag_embed(p.mT).permute(0, 2, 3, 1) - p[:, :, None] * p[:, None]

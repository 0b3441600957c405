"""The E step: what answers say about people, and what people's posteriors say about items.

An item's curve is P = c + (d - c) sigmoid(z) with z = a theta + g, g = -a b; theta ~ N(0, 1) on quadrature nodes.
Complete 1PL and 2PL data enter a person's posterior only through s = x'a, and the M step only through X' EAP. So an
iteration reads such answers once, and where people are many, those with the same s share a posterior. All else is a
product of people x items and items x nodes matrices, sparse ones where few answers are there.

Tensors run on any device; answers are read in blocks, so that memory beside them stays small.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

BLOCK = 2**19  # cells in work at a time: they fit the processor's cache
SPARSE = 0.1  # below this share of answered cells the answers are kept as sparse matrices
MANY = 4096  # people: beyond it, they share posteriors
COARSE = 0.1  # at most between the nodes at which items are worked out, however fine the people's grid is

Curves = Tensor  # (items, 4): a, g = -a b, c, d


@dataclass(frozen=True)
class Answers:
    """People x items: 1 where right, and 1 where answered (None: everywhere); uint8 or doubles.

    totals: right answers of each item.
    most, usual: the largest and the median share of the items that one person answered.
    sparse: the same as sparse matrices, where few cells are answered.
    """

    right: Tensor
    answered: Tensor | None
    totals: Tensor
    most: float = 1.0
    usual: float = 1.0
    sparse: Block | None = None

    @classmethod
    def of(cls, right: np.ndarray, answered: np.ndarray | None, device: str) -> Answers:
        """From uint8 arrays."""
        x = torch.from_numpy(right).to(device)
        if x.numel() <= BLOCK:
            x = x.double()
        totals = torch.from_numpy(right.sum(axis=0, dtype=float)).to(device)
        if answered is None:
            return cls(x, None, totals)
        m = torch.from_numpy(answered).to(device)
        share = answered.mean(axis=1)
        most, usual = float(share.max()), float(np.median(share))
        if answered.mean() >= SPARSE:
            return cls(x, m, totals, most, usual)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
            sparse = [part.double().to_sparse_csr() for part in (x, x.T.contiguous(), m, m.T.contiguous())]
        return cls(x, m, totals, most, usual, Block(slice(0, len(x)), *sparse))

    def blocks(self, width: int, dtype: torch.dtype, dense: bool = False) -> Iterator[Block]:
        """Some rows at a time as floats, as many as fit BLOCK at so many cells a row; sparse ones all at once."""
        if self.sparse and not dense:
            yield self.sparse
            return
        people = len(self.right)
        rows = max(1, BLOCK // width)
        for start in range(0, people, rows):
            part = slice(start, min(start + rows, people))
            x = self.right[part].to(dtype)
            m = None if self.answered is None else self.answered[part].to(dtype)
            yield Block(part, x, x.T, m, None if m is None else m.T)

    def share_answered(self, group: Tensor, n: int) -> Tensor:
        """What share of the people in each of n groups answered each item, (items, n). group: (people,)."""
        items = self.right.shape[1]
        counts = torch.zeros(items, n, dtype=torch.float64, device=self.right.device)
        for part, _, _, _, answered_t in self.blocks(items, counts.dtype):
            if answered_t is None:
                return torch.ones_like(counts)
            counts += answered_t @ torch.nn.functional.one_hot(group[part], n).to(counts.dtype)
        return counts / group.bincount(minlength=n)


class Block(NamedTuple):
    """Rows of the answers, as matrices to multiply with."""

    part: slice
    right: Tensor
    right_t: Tensor
    answered: Tensor | None
    answered_t: Tensor | None


@dataclass(frozen=True)
class Expected:
    """What the E step leaves for the M step, and what it says about each person.

    nodes: where trials and right are, for the M step.
    trials: expected answers at each node: (nodes,) if everyone answered every item, else (items, nodes).
    right: expected right answers at each node, (items, nodes); under 1PL and 2PL sums of them suffice, weighted
        with theta and with 1: (items, 2).
    mean, sd: of the population's posterior.
    """

    log_likelihood: float
    nodes: Tensor
    trials: Tensor
    right: Tensor
    mean: Tensor
    sd: Tensor
    theta: Tensor
    theta_se: Tensor


def expect(answers: Answers, x: Curves, nodes: Tensor, log_weights: Tensor, logistic: bool) -> Expected:
    """The E step. logistic: c is 0 and d is 1 for all items (1PL, 2PL)."""
    if logistic and answers.answered is None:
        return _expect_complete(answers, x, nodes, log_weights)
    return _expect_any(answers, x, nodes, log_weights, logistic)


def _expect_complete(answers: Answers, x: Curves, nodes: Tensor, log_weights: Tensor) -> Expected:
    """Nothing missing, 1PL or 2PL: log p(x_i, theta) = s_i theta + x_i'g - sum_j log(1 + exp z_j), s_i = x_i'a."""
    a, g = x[:, 0], x[:, 1]
    people, items = answers.right.shape
    apart = 12 / np.ceil(12 / min(COARSE, 0.3 / float(a.abs().max())))
    coarse, spread = nodes, None
    if apart >= 2 * float(nodes[1] - nodes[0]):  # curves are smoother than a long test's posteriors: interpolate them
        n_coarse = round(12 / apart) + 5  # two beyond either end
        coarse = (torch.arange(n_coarse, dtype=nodes.dtype, device=nodes.device) - 2) * apart - 6
        spread = _cubic((nodes - coarse[0]) / apart)
    denominators = torch.zeros_like(coarse)
    for part in _chunks(items, len(coarse)):
        denominators += softplus(logits(x[part], coarse)).sum(0)
    rest = log_weights - (denominators if spread is None else (denominators[spread[0]] * spread[1]).sum(0))
    low = a.clamp(max=0).sum()
    step = float((a.abs().sum() / 400).clamp(0.1, 1.0))
    n_scores = int(a.abs().sum() / step) + 6  # two before and two behind, for the interpolation and for rounding
    shared = n_scores < people / 2 and people > MANY
    if shared:  # posteriors at equally spaced scores, and cubic interpolation between them
        scores = low + (torch.arange(n_scores, dtype=x.dtype, device=x.device) - 2) * step
        table = posterior_of(scores[:, None] * nodes + rest, nodes)
        mass = torch.zeros_like(scores)
    dtype = torch.float32 if people * items > 1e7 else x.dtype
    weight, log_marginal, with_theta = torch.zeros_like(nodes), 0.0, torch.zeros_like(a)
    theta, variance = (torch.empty(people, dtype=x.dtype, device=x.device) for _ in range(2))
    slopes = a.to(dtype)
    for part, right, right_t, _, _ in answers.blocks(items, dtype):
        s = (right @ slopes).to(x.dtype)
        if shared:
            where, cubic = _cubic((s - low) / step + 2)
            theta[part] = (table.theta[where] * cubic).sum(0)
            variance[part] = (table.variance[where] * cubic).sum(0)
            mass.index_add_(0, where.flatten(), cubic.flatten())
        else:
            own = posterior_of(s[:, None] * nodes + rest, nodes)
            theta[part], variance[part] = own.theta, own.variance
            weight += own.weight.sum(0)
            log_marginal += float(own.log_marginal.sum())
        with_theta += (right_t @ theta[part].to(dtype)).to(x.dtype)
    if shared:
        weight = mass @ table.weight
        log_marginal = float(mass @ table.log_marginal)
    log_likelihood = log_marginal + float(answers.totals @ g)
    mean, sd = _mean_and_sd(nodes, weight)
    trials = (
        weight
        if spread is None
        else torch.zeros_like(coarse).index_add_(0, spread[0].flatten(), (spread[1] * weight).flatten())
    )
    sums = torch.stack([with_theta, answers.totals], 1)
    return Expected(log_likelihood, coarse, trials, sums, mean, sd, theta, variance.clamp(min=0).sqrt())


def _expect_any(answers: Answers, x: Curves, nodes: Tensor, log_weights: Tensor, logistic: bool) -> Expected:
    """Any model and any missing answers, by products of people x items and items x nodes matrices."""
    people, items = answers.right.shape
    z = logits(x, nodes)
    if logistic:
        log_wrong, log_odds = -softplus(z), z
    else:
        p = curve(x, torch.sigmoid(z))
        log_wrong = torch.log1p(-p)
        log_odds = p.log() - log_wrong
    complete = answers.answered is None
    trials = torch.zeros_like(z)
    sums = torch.zeros_like(x[:, 0] if logistic else z)
    weight, log_marginal = torch.zeros_like(nodes), 0.0
    theta, variance = (torch.empty(people, dtype=x.dtype, device=x.device) for _ in range(2))
    for part, right, right_t, answered, answered_t in answers.blocks(items + 2 * len(nodes), x.dtype):
        log_joint = log_weights + (log_wrong.sum(0) if answered is None else answered @ log_wrong)
        if logistic:
            score = right @ x[:, :2]
            log_joint = log_joint + score[:, :1] * nodes + score[:, 1:]
        else:
            log_joint = log_joint + right @ log_odds
        own = posterior_of(log_joint, nodes)
        theta[part], variance[part] = own.theta, own.variance
        weight += own.weight.sum(0)
        log_marginal += float(own.log_marginal.sum())
        if answered_t is not None:
            trials += answered_t @ own.weight
        sums += right_t @ (own.theta if logistic else own.weight)
    mean, sd = _mean_and_sd(nodes, weight)
    if logistic:
        sums = torch.stack([sums, answers.totals], 1)
    trials = weight if complete else trials
    return Expected(log_marginal, nodes, trials, sums, mean, sd, theta, variance.clamp(min=0).sqrt())


def _mean_and_sd(nodes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    mean = weight @ nodes / weight.sum()
    return mean, (weight @ (nodes - mean) ** 2 / weight.sum()).sqrt()


def posteriors(
    answers: Answers, x: Curves, nodes: Tensor, log_weights: Tensor
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Some people at a time: whether right and whether wrong, (people, items) each, and their posterior on nodes."""
    p = curve(x, torch.sigmoid(logits(x, nodes)))
    for _, right, _, answered, _ in answers.blocks(len(x) * 4 + len(nodes), x.dtype, dense=True):
        wrong = (1 - right) if answered is None else answered - right
        log_joint = right @ p.log() + wrong @ torch.log1p(-p) + log_weights
        yield [right, wrong], posterior_of(log_joint, nodes).weight


class Posterior(NamedTuple):
    """Of people on nodes, (people, nodes); its mean, its variance, and the log of its normalising constant."""

    weight: Tensor
    theta: Tensor
    variance: Tensor
    log_marginal: Tensor


def posterior_of(log_joint: Tensor, nodes: Tensor) -> Posterior:
    """Of log joint densities (people, nodes), which are overwritten."""
    top = log_joint.amax(1, keepdim=True)
    weight = log_joint.sub_(top).exp_()
    total = weight.sum(1, keepdim=True)
    weight /= total
    moments = weight @ torch.stack([nodes, nodes**2], 1)
    return Posterior(weight, moments[:, 0], moments[:, 1] - moments[:, 0] ** 2, (total.log() + top)[:, 0])


def _cubic(position: Tensor) -> tuple[Tensor, Tensor]:
    """The four grid points around each position, and their weights in Lagrange's cubic interpolation: (4, n) each."""
    start = position.floor()
    t = position - start
    down, up = t * (t - 1), (t + 1) * (t - 2)
    weights = torch.stack([-down * (t - 2) / 6, up * (t - 1) / 2, -up * t / 2, down * (t + 1) / 6])
    return start.long() + torch.arange(-1, 3, device=t.device)[:, None], weights


def _chunks(items: int, nodes: int) -> Iterator[slice]:
    """Items in work at a time."""
    size = max(1, BLOCK // nodes)
    return (slice(start, start + size) for start in range(0, items, size))


def logits(x: Curves, nodes: Tensor) -> Tensor:
    return torch.addcmul(x[:, 1:2], x[:, :1], nodes)


def curve(x: Curves, sigmoid: Tensor) -> Tensor:
    return (x[:, 2:3] + (x[:, 3:] - x[:, 2:3]) * sigmoid).clamp(1e-12, 1 - 1e-12)


def scores(expected: Expected, x: Curves, n: int) -> tuple[Tensor, Tensor]:
    """Expected log-likelihood of each item: gradient (items, n) and Fisher information (items, n, n).

    By the first n of a, g, logit c, logit d.
    """
    gradient = torch.empty(len(x), n, dtype=x.dtype, device=x.device)
    information = torch.empty(len(x), n, n, dtype=x.dtype, device=x.device)
    nodes = expected.nodes
    powers = torch.stack([nodes**2, nodes, torch.ones_like(nodes)], 1)
    for part in _chunks(len(x), len(nodes)):
        trials = expected.trials if expected.trials.ndim == 1 else expected.trials[part]
        sigmoid = torch.sigmoid(logits(x[part], nodes))
        if n == 2:
            right = trials * sigmoid
            gradient[part] = expected.right[part] - right @ powers[:, 1:]
            squares = (right * (1 - sigmoid)) @ powers
            information[part] = squares[:, [[0, 1], [1, 2]]]
        else:
            p = curve(x[part], sigmoid)
            each = torch.stack(derivatives(x[part], sigmoid, nodes, n), 1)  # (items, n, nodes)
            gradient[part] = (each @ ((expected.right[part] - trials * p) / (p * (1 - p)))[..., None])[..., 0]
            information[part] = (each * (trials / (p * (1 - p)))[:, None]) @ each.mT
    return gradient, information


def expected_log_likelihood(expected: Expected, x: Curves, n: int) -> Tensor:
    """Of each item, (items,): what a step of the M step is to raise."""
    found = torch.empty(len(x), dtype=x.dtype, device=x.device)
    for part in _chunks(len(x), len(expected.nodes)):
        trials = expected.trials if expected.trials.ndim == 1 else expected.trials[part]
        z = logits(x[part], expected.nodes)
        if n == 2:
            found[part] = (expected.right[part] * x[part, :2]).sum(1) - (trials * softplus(z)).sum(1)
        else:
            p = curve(x[part], torch.sigmoid(z))
            found[part] = (expected.right[part] * (p.log() - torch.log1p(-p)) + trials * torch.log1p(-p)).sum(1)
    return found


def derivatives(x: Curves, sigmoid: Tensor, nodes: Tensor, n: int) -> list[Tensor]:
    """Of P by the first n of a, g, logit c, logit d: (items, nodes) each."""
    c, d = x[:, 2:3], x[:, 3:]
    by_logit = (d - c) * sigmoid * (1 - sigmoid)
    return [by_logit * nodes, by_logit, c * (1 - c) * (1 - sigmoid), d * (1 - d) * sigmoid][:n]

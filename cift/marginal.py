"""Marginal maximum likelihood for items that are answered right or wrong: the engine of `cift.irt.calibrate`.

EM over quadrature nodes (Bock & Aitkin 1981), for theta ~ N(0, 1) and z = a theta + g. What makes it quick:

- Complete 1PL and 2PL data enter a person's posterior only through s = x'a, and the M step only through
  X' EAP: an iteration reads the answers once, and everyone with the same s shares one posterior.
- The M step is one Fisher-scoring step of all items at once.
- Parameter expansion (Liu, Rubin & Wu 1998) and Anderson acceleration (Walker & Ni 2011) end it in about ten
  iterations.

Tensors run on any device; answers are read in blocks, so that memory beside them stays small.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from cift.irt import Priors

TOLERANCE = 1e-5  # largest change of a parameter in one iteration
MAX_ITERATIONS = 1000
RUNAWAY = 20.0  # a slope beyond it has no maximum: the likelihood rises for ever
BLOCK = 2**19  # cells in work at a time: they fit the processor's cache
SPARSE = 0.1  # below this share of answered cells the answers are kept as sparse matrices
PARAMETERS = {"1pl": 2, "2pl": 2, "3pl": 3, "4pl": 4}  # of an item: a, g, logit c, logit d
SCORE_STEP = 0.5  # between the scores at which shared posteriors are worked out
SMALL = 2e6  # cells: fewer are done by one thread
GROUPS = 100  # of people of like ability, for standard errors
MEMORY = 6  # iterations that Anderson acceleration looks back on

Curves = Tensor  # (items, 4): a, g = -a b, c, d


@dataclass(frozen=True)
class Answers:
    """People x items: 1 where right, and 1 where answered (None: everywhere); uint8, or sparse rows of doubles.

    transposed: the same two, items x people, where they are sparse.
    """

    right: Tensor
    answered: Tensor | None
    transposed: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, right: np.ndarray, answered: np.ndarray | None, device: str) -> Answers:
        """From uint8 arrays."""
        x = torch.from_numpy(right).to(device)
        if answered is None:
            return cls(x, None)
        m = torch.from_numpy(answered).to(device)
        if answered.mean() >= SPARSE:
            return cls(x, m)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
            x, m, xt, mt = (part.double().to_sparse_csr() for part in (x, m, x.T.contiguous(), m.T.contiguous()))
        return cls(x, m, (xt, mt))

    def blocks(self, width: int, dtype: torch.dtype) -> Iterator[Block]:
        """Some rows at a time as floats, as many as fit BLOCK at so many cells a row; sparse ones all at once."""
        people = len(self.right)
        if self.transposed:
            yield Block(slice(0, people), self.right, self.transposed[0], self.answered, self.transposed[1])
            return
        rows = max(1, BLOCK // width)
        for start in range(0, people, rows):
            part = slice(start, min(start + rows, people))
            x = self.right[part].to(dtype)
            m = None if self.answered is None else self.answered[part].to(dtype)
            yield Block(part, x, x.T, m, None if m is None else m.T)


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

    trials: expected answers at each node: (nodes,) if everyone answered every item, else (items, nodes).
    right: expected right answers at each node, (items, nodes); under 1PL and 2PL sums of them suffice, weighted
        with theta and with 1: (items, 2).
    weight: how much of the population's posterior is at each node, summing to 1.
    """

    log_likelihood: float
    trials: Tensor
    right: Tensor
    weight: Tensor
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
    rest = log_weights.clone()
    for part in _chunks(items, len(nodes)):
        rest -= softplus(_logits(x[part], nodes)).sum(0)
    low = a.clamp(max=0).sum()
    n_scores = int((a.abs().sum() / SCORE_STEP)) + 4
    shared = n_scores < people / 2
    if shared:  # posteriors at equally spaced scores, and cubic interpolation between them
        scores = low + (torch.arange(n_scores, dtype=x.dtype, device=x.device) - 1) * SCORE_STEP
        table = _posterior(scores[:, None] * nodes + rest, nodes)
        mass = torch.zeros_like(scores)
    dtype = torch.float32 if people * items > 1e7 else x.dtype
    weight, log_marginal, sums = torch.zeros_like(nodes), 0.0, torch.zeros_like(x[:, :2])
    theta, variance = (torch.empty(people, dtype=x.dtype, device=x.device) for _ in range(2))
    slopes = a.to(dtype)
    for part, right, right_t, _, _ in answers.blocks(items, dtype):
        s = (right @ slopes).to(x.dtype)
        if shared:
            where, cubic = _cubic((s - low) / SCORE_STEP + 1)
            theta[part] = (table.theta[where] * cubic).sum(0)
            variance[part] = (table.variance[where] * cubic).sum(0)
            mass.index_add_(0, where.flatten(), cubic.flatten())
        else:
            own = _posterior(s[:, None] * nodes + rest, nodes)
            theta[part], variance[part] = own.theta, own.variance
            weight += own.weight.sum(0)
            log_marginal += float(own.log_marginal.sum())
        sums += (right_t @ torch.stack([theta[part], torch.ones_like(s)], 1).to(dtype)).to(x.dtype)
    if shared:
        weight = mass @ table.weight
        log_marginal = float(mass @ table.log_marginal)
    log_likelihood = log_marginal + float(sums[:, 1] @ g)
    return Expected(log_likelihood, weight, sums, weight / people, theta, variance.clamp(min=0).sqrt())


def _expect_any(answers: Answers, x: Curves, nodes: Tensor, log_weights: Tensor, logistic: bool) -> Expected:
    """Any model and any missing answers, by products of people x items and items x nodes matrices."""
    people, items = answers.right.shape
    z = _logits(x, nodes)
    if logistic:
        log_wrong, log_odds = -softplus(z), None
    else:
        p = _probability(x, torch.sigmoid(z))
        log_wrong = torch.log1p(-p)
        log_odds = p.log() - log_wrong
    complete = answers.answered is None
    trials = torch.zeros_like(z)
    sums = torch.zeros_like(x[:, :2] if logistic else z)
    weight, log_marginal = torch.zeros_like(nodes), 0.0
    theta, variance = (torch.empty(people, dtype=x.dtype, device=x.device) for _ in range(2))
    for part, right, right_t, answered, answered_t in answers.blocks(items + 2 * len(nodes), x.dtype):
        log_joint = log_weights + (log_wrong.sum(0) if complete else answered @ log_wrong)
        if logistic:
            score = right @ x[:, :2]
            log_joint = log_joint + score[:, :1] * nodes + score[:, 1:]
        else:
            log_joint = log_joint + right @ log_odds
        own = _posterior(log_joint, nodes)
        theta[part], variance[part] = own.theta, own.variance
        weight += own.weight.sum(0)
        log_marginal += float(own.log_marginal.sum())
        if not complete:
            trials += answered_t @ own.weight
        sums += right_t @ (torch.stack([own.theta, torch.ones_like(own.theta)], 1) if logistic else own.weight)
    return Expected(
        log_marginal, weight if complete else trials, sums, weight / people, theta, variance.clamp(min=0).sqrt()
    )


class _Posterior(NamedTuple):
    """Of people on nodes, (people, nodes); its mean, its variance, and the log of its normalising constant."""

    weight: Tensor
    theta: Tensor
    variance: Tensor
    log_marginal: Tensor


def _posterior(log_joint: Tensor, nodes: Tensor) -> _Posterior:
    log_marginal = log_joint.logsumexp(1)
    weight = (log_joint - log_marginal[:, None]).exp_()
    moments = weight @ torch.stack([nodes, nodes**2], 1)
    return _Posterior(weight, moments[:, 0], moments[:, 1] - moments[:, 0] ** 2, log_marginal)


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


def _logits(x: Curves, nodes: Tensor) -> Tensor:
    return torch.addcmul(x[:, 1:2], x[:, :1], nodes)


def _probability(x: Curves, sigmoid: Tensor) -> Tensor:
    return (x[:, 2:3] + (x[:, 3:] - x[:, 2:3]) * sigmoid).clamp(1e-12, 1 - 1e-12)


def _scores(expected: Expected, x: Curves, nodes: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Expected log-likelihood of each item: gradient (items, n) and Fisher information (items, n, n).

    By the first n of a, g, logit c, logit d.
    """
    gradient = torch.empty(len(x), n, dtype=x.dtype, device=x.device)
    information = torch.empty(len(x), n, n, dtype=x.dtype, device=x.device)
    powers = torch.stack([nodes**2, nodes, torch.ones_like(nodes)], 1)
    for part in _chunks(len(x), len(nodes)):
        trials = expected.trials if expected.trials.ndim == 1 else expected.trials[part]
        sigmoid = torch.sigmoid(_logits(x[part], nodes))
        if n == 2:
            right = trials * sigmoid
            gradient[part] = expected.right[part] - right @ powers[:, 1:]
            squares = (right * (1 - sigmoid)) @ powers
            information[part] = squares[:, [[0, 1], [1, 2]]]
        else:
            p = _probability(x[part], sigmoid)
            each = torch.stack(_derivatives(x[part], sigmoid, nodes, n), 1)  # (items, n, nodes)
            gradient[part] = (each @ ((expected.right[part] - trials * p) / (p * (1 - p)))[..., None])[..., 0]
            information[part] = (each * (trials / (p * (1 - p)))[:, None]) @ each.mT
    return gradient, information


def _derivatives(x: Curves, sigmoid: Tensor, nodes: Tensor, n: int) -> list[Tensor]:
    """Of P by the first n of a, g, logit c, logit d: (items, nodes) each."""
    c, d = x[:, 2:3], x[:, 3:]
    by_logit = (d - c) * sigmoid * (1 - sigmoid)
    return [by_logit * nodes, by_logit, c * (1 - c) * (1 - sigmoid), d * (1 - d) * sigmoid][:n]


# the calibration


@dataclass(frozen=True)
class Fit:
    """What `fit` found.

    items, errors: (items, 4), a, b, c, d and their standard errors (0 where fixed).
    theta, theta_se: each person's EAP and its standard error.
    report: log_likelihood, iterations, converged, largest_change, nodes, and the priors in use.
    """

    items: np.ndarray
    errors: np.ndarray
    theta: np.ndarray
    theta_se: np.ndarray
    report: dict


def fit(
    answers: Answers,
    model: str,
    priors: Priors,
    pooled: bool,
    grid: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Fit:
    """Calibrate.

    pooled: with the priors on log a and b too; else only those on c and d are used, where the model has them.
    grid: nodes and log weights of N(0, 1) for given items (items, 4), a, b, c, d.
    """
    threads = torch.get_num_threads()
    if answers.right.shape[0] * answers.right.shape[1] < SMALL:  # waking threads would cost more than it gains
        torch.set_num_threads(1)
    try:
        return _fit(answers, _Problem(model, priors, pooled), grid)
    finally:
        torch.set_num_threads(threads)


def _fit(answers: Answers, problem: _Problem, grid: Callable) -> Fit:
    state = problem.start(answers)
    n_nodes = iterations = 0
    while True:
        found = grid(problem.abcd(state).cpu().numpy())
        if len(found[0]) <= n_nodes:
            break
        n_nodes = len(found[0])
        nodes, log_weights = (torch.as_tensor(part, dtype=state.dtype, device=state.device) for part in found)
        state, change, used = _fixed_point(lambda now: problem.step(answers, now, nodes, log_weights), state, problem)
        iterations += used
    expected = expect(answers, problem.curves(state), nodes, log_weights, problem.n == 2)
    report = {
        "log_likelihood": expected.log_likelihood,
        "iterations": iterations,
        "converged": bool(change < TOLERANCE),
        "largest_change": float(change),
        "nodes": n_nodes,
        "priors": problem.in_words(state),
    }
    items, errors = problem.abcd(state), problem.errors(answers, expected, state, nodes)
    return Fit(*(part.cpu().numpy() for part in (items, errors, expected.theta, expected.theta_se)), report)


@dataclass(frozen=True)
class _Problem:
    """What is estimated: a flat vector, for `_fixed_point`, of each item's coordinates and then the hyperparameters.

    Coordinates of an item are a, g, logit c, logit d, or under pooled priors log a, b, logit c, logit d; the first n.
    Hyperparameters are mean and log sd of log a, and of b: estimated from the items unless the priors name them.
    """

    model: str
    priors: Priors
    pooled: bool

    @property
    def n(self) -> int:
        return PARAMETERS[self.model]

    def split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (items, n) and hyperparameters (4,)."""
        return state[:-4].reshape(-1, self.n), state[-4:]

    def curves(self, state: Tensor) -> Curves:
        """(items, 4): a, g, c, d."""
        y, _ = self.split(state)
        a, g = (y[:, 0].exp(), -y[:, 0].exp() * y[:, 1]) if self.pooled else (y[:, 0], y[:, 1])
        c = torch.sigmoid(y[:, 2]) if self.n > 2 else torch.zeros_like(a)
        d = torch.sigmoid(y[:, 3]) if self.n > 3 else torch.ones_like(a)
        return torch.stack([a, g, c, d], 1)

    def abcd(self, state: Tensor) -> Tensor:
        """(items, 4): a, b, c, d."""
        x = self.curves(state)
        a = torch.where(x[:, 0].abs() < 1e-8, 1e-8, x[:, 0])
        return torch.stack([a, -x[:, 1] / a, x[:, 2], x[:, 3]], 1)

    def start(self, answers: Answers) -> Tensor:
        """From shares of right answers and their correlation with the total score, as in factor analysis."""
        share, correlation = _item_statistics(answers)
        low = self.priors.guessing if self.n > 2 else 0.0
        share = ((share - low) / (1 - low)).clamp(0.02, 0.98)
        tau = torch.special.ndtri(share)
        density = torch.exp(-(tau**2) / 2) / (2 * torch.pi) ** 0.5
        loading = (correlation * (share * (1 - share)).sqrt() / density).clamp(-0.9, 0.9)
        if self.pooled or self.model == "1pl":
            loading = torch.full_like(loading, 0.5)
        a, g = (1.7 * part / (1 - loading**2).sqrt() for part in (loading, tau))
        rest = [torch.full_like(a, float(np.log(at / (1 - at)))) for at in (self.priors.guessing, self.priors.upper)]
        y = torch.stack([*((a.log(), -g / a) if self.pooled else (a, g)), *rest][: self.n], 1)
        (log_a, log_a_sd), (b, b_sd) = self.priors.log_a or (0.0, 0.5), self.priors.b or (0.0, 1.0)
        return torch.cat([y.flatten(), y.new_tensor([log_a, np.log(log_a_sd), b, np.log(b_sd)])])

    def step(self, answers: Answers, state: Tensor, nodes: Tensor, log_weights: Tensor) -> Tensor:
        """One iteration of EM."""
        y, hyper = self.split(state)
        x = self.curves(state)
        expected = expect(answers, x, nodes, log_weights, self.n == 2)
        gradient, information = self.penalised(expected, y, hyper, x, nodes)
        if self.model == "1pl":
            change = _shared_slope_step(gradient, information)
        else:
            change = torch.linalg.solve(information, gradient)
        y = y + change / change.abs().amax(1, keepdim=True).clamp(min=1)
        if self.pooled:
            hyper = self.empirical_bayes(y, information, hyper)
            if self.priors.log_a and self.priors.b:  # the priors fix origin and unit
                return torch.cat([y.flatten(), hyper])
        center = expected.weight @ nodes
        unit = (expected.weight @ (nodes - center) ** 2).sqrt()
        return self.rescaled(y, hyper, center, unit)

    def penalised(
        self, expected: Expected, y: Tensor, hyper: Tensor, x: Curves, nodes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradient and information of each item's coordinates, the priors' included."""
        gradient, information = _scores(expected, x, nodes, self.n)
        mean, precision = torch.zeros_like(y[0]), torch.full_like(y[0], 1e-9)
        if self.pooled:  # from a, g to log a, b
            jacobian = torch.eye(self.n, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1)
            jacobian[:, 0, 0], jacobian[:, 1, 0], jacobian[:, 1, 1] = x[:, 0], x[:, 1], -x[:, 0]
            gradient = (jacobian.mT @ gradient[..., None])[..., 0]
            information = jacobian.mT @ information @ jacobian
            mean[:2], precision[:2] = hyper[[0, 2]], (-2 * hyper[[1, 3]]).exp()
            if self.model == "1pl":
                precision[0] = 0.0  # one slope for all: nothing to pool
        for k, center, sd in (
            (2, self.priors.guessing, self.priors.guessing_sd),
            (3, self.priors.upper, self.priors.upper_sd),
        ):
            if k < self.n:
                mean[k], precision[k] = float(np.log(center / (1 - center))), sd**-2
        return gradient - precision * (y - mean), information + torch.diag(precision)

    def empirical_bayes(self, y: Tensor, information: Tensor, hyper: Tensor) -> Tensor:
        """Mean and log sd of log a and b between the items: an EM step, with Laplace's approximation of an item's posterior."""
        variance = torch.linalg.inv(information).diagonal(dim1=1, dim2=2)[:, :2]
        mean = y[:, :2].mean(0)
        log_sd = ((y[:, :2] - mean) ** 2 + variance).mean(0).clamp(min=1e-3).log() / 2
        new = torch.stack([mean, log_sd], 1)
        for k, given in enumerate((self.priors.log_a, self.priors.b)):
            if given or (k == 0 and self.model == "1pl"):
                new[k] = hyper[2 * k : 2 * k + 2]
        return new.flatten()

    def rescaled(self, y: Tensor, hyper: Tensor, center: Tensor, unit: Tensor) -> Tensor:
        """The same on the scale on which the population's posterior has mean 0 and variance 1 (parameter expansion)."""
        y, hyper = y.clone(), hyper.clone()
        if self.pooled:
            y[:, 0] += unit.log()
            y[:, 1] = (y[:, 1] - center) / unit
            if not self.priors.log_a:
                hyper[0] += unit.log()
            if not self.priors.b:
                hyper[2] = (hyper[2] - center) / unit
                hyper[3] -= unit.log()
        else:
            y[:, 1] += y[:, 0] * center
            y[:, 0] *= unit
        return torch.cat([y.flatten(), hyper])

    def ran_away(self, state: Tensor) -> bool:
        """Whether a slope has no finite estimate."""
        return not self.pooled and bool(state[:-4].reshape(-1, self.n)[:, 0].abs().max() > RUNAWAY)

    def errors(self, answers: Answers, expected: Expected, state: Tensor, nodes: Tensor) -> Tensor:
        """Standard errors of a, b, c, d, (items, 4), from the observed information of the marginal likelihood.

        That is the complete-data information less what not knowing theta takes away (Louis 1982): the sum over people
        of the posterior covariance of the items' scores, which ties all items together. A score moves with theta by
        h' = -P' (dP/dy) / (P (1 - P)), and by the noise of its own answer. So the tie between two items is
        sum_i var_i h'_j h'_k, a product of thin matrices over groups of people of like ability, and Woodbury's
        identity inverts the whole without ever forming a matrix items x items.
        """
        y, hyper = self.split(state)
        x = self.curves(state)
        _, information = self.penalised(expected, y, hyper, x, nodes)
        theta, variance, answered = _groups(answers, expected)
        sigmoid = torch.sigmoid(_logits(x, theta))
        p = _probability(x, sigmoid)
        by = torch.stack(_derivatives(x, sigmoid, theta, self.n), 1)  # (items, n, groups)
        by_logit, precision = by[:, 1].clone(), 1 / (p * (1 - p))
        by_own = by_logit.clone()  # of the first coordinate, by theta: what the noise of the answer meets
        if self.pooled:
            a, g = x[:, 0, None], x[:, 1, None]
            by[:, 0], by[:, 1], by_own = a * by[:, 0] + g * by[:, 1], -a * by[:, 1], a * by_own
        ties = by * (x[:, :1] * by_logit * precision * answered * variance.sqrt())[:, None]
        information[:, 0, 0] -= (by_own**2 * precision * variance * answered).sum(1)
        # of a group's people, some answered both items: the mean of squares is not the square of the mean
        alone = (
            by * (x[:, :1] * by_logit * precision * (variance * answered * (1 - answered)).clamp(min=0).sqrt())[:, None]
        )
        information -= alone @ alone.mT
        covariance = (_shared_slope_covariance if self.model == "1pl" else _covariance)(information, ties)
        variances = covariance.diagonal(dim1=1, dim2=2)
        errors = torch.zeros_like(x)
        if self.pooled:
            errors[:, 0], errors[:, 1] = x[:, 0] ** 2 * variances[:, 0], variances[:, 1]
        else:
            a, g = x[:, 0], x[:, 1]
            by_b = torch.stack([g / a**2, -1 / a], 1)
            errors[:, 0] = variances[:, 0]
            errors[:, 1] = (by_b[:, None] @ covariance[:, :2, :2] @ by_b[..., None])[:, 0, 0]
        errors[:, 2 : self.n] = variances[:, 2:] * (x[:, 2 : self.n] * (1 - x[:, 2 : self.n])) ** 2
        return errors.clamp(min=0).sqrt()

    def in_words(self, state: Tensor) -> dict:
        """The priors in use, for the record."""
        priors: dict = {}
        if self.pooled:
            log_a, log_a_sd, b, b_sd = state[-4:].tolist()
            priors["b"] = [b, float(np.exp(b_sd))]
            if self.model != "1pl":
                priors["log_a"] = [log_a, float(np.exp(log_a_sd))]
        if self.n > 2:
            priors["logit_c"] = [
                float(np.log(self.priors.guessing / (1 - self.priors.guessing))),
                self.priors.guessing_sd,
            ]
        if self.n > 3:
            priors["logit_d"] = [float(np.log(self.priors.upper / (1 - self.priors.upper))), self.priors.upper_sd]
        return priors


def _item_statistics(answers: Answers) -> tuple[Tensor, Tensor]:
    """Each item's share of right answers, and its correlation with theta as the total score measures that."""
    people, items = answers.right.shape
    total = torch.empty(people, dtype=torch.float64, device=answers.right.device)
    sums = torch.zeros(items, 5, dtype=torch.float64, device=total.device)  # n, right, total, total², right x total
    for part, right, right_t, answered, answered_t in answers.blocks(items, torch.float32):
        one = torch.ones(items, dtype=right.dtype, device=total.device)
        n = torch.full((right.shape[0],), float(items), device=total.device) if answered is None else answered @ one
        score = (right @ one) / n.clamp(min=1)
        total[part] = score
        towards = torch.stack([torch.ones_like(score), score, score**2], 1)
        of_answered = towards.sum(0).expand(items, 3) if answered_t is None else answered_t @ towards
        sums += torch.cat([of_answered, right_t @ towards[:, :2]], 1)[:, [0, 3, 1, 2, 4]].double()
    n, right, score, square, product = sums.T
    share = right / n
    covariance = product / n - share * score / n
    spread = (square / n - (score / n) ** 2).clamp(min=1e-12)
    noise = (
        share * (1 - share)
    ).sum() / items**2  # of a total score, were theta fixed at its mean: Kuder & Richardson 20
    reliability = (1 - noise / total.var()).clamp(0.3, 1)
    correlation = covariance / (spread * share * (1 - share)).clamp(min=1e-12).sqrt()
    return share, correlation / reliability.sqrt()


def _shared_slope_step(gradient: Tensor, information: Tensor) -> Tensor:
    """The 1PL's step: each item its own second coordinate, all one first."""
    (g0, g1), (h00, h01, h11) = gradient.T, (information[:, i, k] for i, k in ((0, 0), (0, 1), (1, 1)))
    slope = (g0 - h01 / h11 * g1).sum() / (h00 - h01**2 / h11).sum()
    return torch.stack([slope.expand(len(g0)), (g1 - h01 * slope) / h11], 1)


def _fixed_point(step: Callable[[Tensor], Tensor], state: Tensor, problem: _Problem) -> tuple[Tensor, float, int]:
    """The state that a step leaves alone, by Anderson acceleration; the last change; how many steps it took.

    Where an accelerated state turns out worse than the one before it, the plain step is taken instead.
    """
    states: list[Tensor] = []
    changes: list[Tensor] = []
    plain, smallest = state, torch.inf
    for iteration in range(1, MAX_ITERATIONS + 1):
        change = step(state) - state
        size = float(change.abs().max())
        if size < TOLERANCE or not np.isfinite(size) or problem.ran_away(state):
            break
        if states and float(change.norm()) > 2 * smallest:
            states, changes, state, smallest = [], [], plain, torch.inf
            continue
        plain, smallest = state + change, float(change.norm())
        states, changes = [*states[-MEMORY:], state], [*changes[-MEMORY:], change]
        state = plain
        if len(states) > 1:
            back = torch.stack([changes[-1] - one for one in changes[:-1]], 1)
            gram = back.T @ back
            gram.diagonal().add_(1e-10 * gram.diagonal().mean())
            mix = torch.linalg.solve(gram, back.T @ change)
            jump = back + torch.stack([states[-1] - one for one in states[:-1]], 1)
            state = plain - jump @ mix
            if (state - plain).abs().max() > 1:
                state = plain
    return state, size, iteration


def _groups(answers: Answers, expected: Expected) -> tuple[Tensor, Tensor, Tensor]:
    """People of like ability: mean theta (groups,), their posterior variances' sum, and what share of them answered, (items, groups)."""
    people, items = answers.right.shape
    n = min(people, GROUPS)
    group = torch.empty(people, dtype=torch.long, device=expected.theta.device)
    group[expected.theta.argsort()] = torch.arange(people, device=group.device) * n // people
    size = torch.bincount(group, minlength=n).double()
    theta, variance = (
        torch.zeros_like(size).index_add_(0, group, part) for part in (expected.theta, expected.theta_se**2)
    )
    share = torch.ones(items, n, dtype=size.dtype, device=size.device)
    if answers.answered is not None:
        member = torch.nn.functional.one_hot(group, n).double()
        share = (
            sum(answered_t @ member[part] for part, _, _, _, answered_t in answers.blocks(items, torch.float64)) / size
        )
    return theta / size, variance, share


def _covariance(own: Tensor, ties: Tensor) -> Tensor:
    """Each item's block of the inverse of blockdiag(own) - ties' ties. own: (items, n, n); ties: (items, n, groups)."""
    inverse = torch.linalg.inv(own)
    spread = inverse @ ties
    core = torch.eye(ties.shape[2], dtype=ties.dtype, device=ties.device) - ties.flatten(0, 1).T @ spread.flatten(0, 1)
    return inverse + spread @ torch.linalg.pinv(core, hermitian=True) @ spread.mT


def _shared_slope_covariance(own: Tensor, ties: Tensor) -> Tensor:
    """The same for the 1PL, where all items have the first coordinate in common: (items, 2, 2)."""
    to_slope = ties[:, 0].sum(0)
    second = _covariance(own[:, 1:, 1:], ties[:, 1:])[:, 0, 0]
    inverse, tie = 1 / own[:, 1, 1], ties[:, 1]
    core = torch.eye(tie.shape[1], dtype=tie.dtype, device=tie.device) - (tie * inverse[:, None]).T @ tie
    cross = own[:, 0, 1] - tie @ to_slope
    solved = inverse * cross + inverse * (tie @ torch.linalg.solve(core, tie.T @ (inverse * cross)))
    slope = 1 / (own[:, 0, 0].sum() - to_slope @ to_slope - cross @ solved)
    between = -slope * solved
    first = torch.stack([slope.expand(len(second)), between], 1)
    return torch.stack([first, torch.stack([between, second + slope * solved**2], 1)], 1)

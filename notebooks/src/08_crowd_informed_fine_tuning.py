# ---
# jupyter:
#   jupytext:
#     formats: ipynb,src//py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 Crowd-informed fine-tuning: what a model learns from people who disagree
#
# **The question.** A thousand people labelled an item, and they do not agree. A model can be taught the gold label,
# the label of the majority, or the whole distribution, each with one loss or another. Which of these pulls the model
# where, and how would we find out whether it helps?
#
# **After this notebook you can**
#
# - write the losses CCE, soft cross-entropy and MSE, and their gradients in the logits, in a line each;
# - say where each of them leads a model, and what each does with a model that is sure and wrong;
# - tell item-by-item softness from softness that label smoothing or a temperature gives for nothing;
# - run the protocol on a small study: held-out scales, arms, controls, a search that looks at nothing it should not;
# - say what a study of this size cannot tell, and set up one on a crowd of your own.
#
# **Time.** About 40 minutes to read; it runs in about 2 minutes on 2 cores. **Needs:** the embedded data and weights,
# no network. **Makes:** a small base model and the cells of a small study, in the cache folder that `cift doctor`
# names.

# %% [markdown]
# ## Set-up
#
# The first cell holds the numbers that you may want to change. The crowd is **simulated** throughout: 1,000 made-up
# respondents to each *stratum* of the probes. `G5` are items on which five of five careful annotators would agree, `G4`
# four of five; the *group* `4GS-E` is the thirty items of `G4` with the gold label *entailment*.

# %% tags=["parameters"]
ITEM = "g4c30"  # the ambiguous item of sections 2 to 6
BASE_PAIRS = 3000  # sentence pairs that the base model has read before it meets the crowd
EPOCHS = 20  # of the lessons in sections 7 and 8
SCALES = ["4GS-E", "4GS-N", "4GS-C"]  # held out in the study of section 10: groups of probes
SEEDS = 2
SEED = 0

# %%
import copy
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from cift import (
    arms,
    casestudy,
    casestudy_report,
    claims,
    crowds,
    evaluation,
    features,
    finetuning,
    losses,
    models,
    plots,
)
from cift.corpora import LABELS, load_corpus
from cift.distributions import bits
from cift.doctor import machine, versions
from cift.fetch import cache_dir
from cift.own_study import read_study
from cift.recipe import Recipe
from cift.reliability import fit_temperature, scale
from cift.splits import split
from cift.studies import load_study

pd.set_option("display.max_colwidth", 90)
{name: versions()[name] for name in ("cift", "python", "torch", "transformers")} | machine()

# %% [markdown]
# ## 1 What it is
#
# **Crowd-Informed Fine-Tuning** (CIFT; Lalor, Wu & Yu 2017, arXiv 1702.08563, versions 1 and 2) trains a model in two
# steps. A base model learns a task from many pairs with one label each. It is then fine-tuned on a small
# *supplemental set*: items that about a thousand people have answered. There the model learns either the items' gold
# labels, with the *categorical cross-entropy* (**CIFT-CCE**), or the distribution of people's answers, with the *mean
# squared error* (**CIFT-MSE**). It is measured as a person would be: by its ability $\theta$ on a scale of item
# response theory (Lalor, Wu & Yu 2016; notebooks 04 and 11), which consists of items that it did not learn from.
# (Version 3 under the same arXiv number, of 2019, is another paper.)
#
# CIFT-CCE and CIFT-MSE are two *arms* of the study: two ways to teach the same model. They make two choices at once:
# **what the target is** (gold label or distribution) and **how a miss counts** (cross-entropy or squared error). This
# notebook takes them apart.
#
# **Check.** Suppose that CIFT-MSE does better than CIFT-CCE. Is the reason the distribution, or the squared error?
# From these two arms alone nobody can tell; section 9 has the arms that can.
#
# ## 2 One item, three targets
#
# The probes are 180 sentence pairs. This is one of the thirty that were built as contradictions on which four of five
# careful annotators would agree:

# %%
study = load_study("embedded")
probes, crowd = load_corpus("probes"), crowds.load_crowd("probes")
shares = study.distributions[list(LABELS)]
gold_of = pd.concat([stratum.gold for stratum in crowd.values()])
row = probes[probes["item_id"][:].index(ITEM)]
print(f"Premise:    {row['premise']}\nHypothesis: {row['hypothesis']}\nGold label: {gold_of[ITEM]}")
shares.loc[[ITEM]].round(2)

# %% [markdown]
# Is it one lane on one day, so that cow and branch exclude each other, or may both be there? Most of the simulated
# respondents say *neutral*, some *contradiction*. So there are three things to teach, all of them a probability for
# each label:
#
# - the **gold label**, as a *one-hot* target: 1 for that label, 0 for the others;
# - the **majority**, one-hot too: the label that most people gave;
# - the **distribution**: the share of people who gave each label.

# %%
people = shares.loc[ITEM].to_numpy()
gold, majority = LABELS.index(gold_of[ITEM]), people.argmax()
targets = {"gold": np.eye(3)[gold], "majority": np.eye(3)[majority], "distribution": people}

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
for ax, (how, target), colour in zip(axes, targets.items(), plots.COLOURS[1:], strict=False):
    bars = plots.clean_axes(ax).bar(LABELS, target, color=colour)
    ax.bar_label(bars, fmt="%.2f")
    ax.set_title(how, fontsize=10)
axes[0].set(ylabel="target probability", ylim=(0, 1.1))
figure.suptitle(f"three targets of {ITEM}; its people are simulated", fontsize=10)
plt.show()

# %% [markdown]
# **What to see.** Gold and majority contradict each other and agree in one thing: that there is no doubt. The
# distribution sides with the majority and keeps the doubt.

# %%
differ = (shares.idxmax(axis=1) != gold_of[shares.index]).sum()
print(f"{differ} of {len(shares)} probes have a majority other than the gold label.")
bits(shares).groupby(shares.index.str[:3]).mean().round(2).to_frame("mean entropy (bits)").T

# %% [markdown]
# **Check.** The entropy of a distribution is 0 bits when all people give the same label, and $\log_2 3 = 1.58$ when
# the three labels are equally frequent. The item ids say stratum and gold label: people doubt most about
# contradictions of the less agreed stratum (`g4c`), least about `g5e`. Where nobody doubts the gold label, the three
# targets are the same, and it does not matter which one is taught.
#
# ## 3 The losses, by hand
#
# A classifier gives three numbers for an item, the *logits* $z$. The *softmax* makes probabilities of them, $p_k =
# e^{z_k} / \sum_j e^{z_j}$. A loss says how far $p$ is from the target $t$:
#
# $$\text{CCE} = -\sum_k t_k \log p_k, \qquad \text{MSE} = \frac1K \sum_k (p_k - t_k)^2, \qquad K = 3 \text{ labels}.$$
#
# With a one-hot target the cross-entropy is minus the log of that label's probability. With a distribution it is
# called *soft* cross-entropy, and the formula is the same.


# %%
def cce(p, t):
    return -(t * np.log(p)).sum()


def mse(p, t):
    return ((p - t) ** 2).mean()


# %%
z = np.array([0.5, 1.0, -1.0])
p, z_torch = softmax(z), torch.tensor(z[None])
for t in targets.values():
    t_torch = torch.tensor(t[None])
    assert np.isclose(cce(p, t), losses.cce(z_torch, t_torch).item())
    assert np.isclose(mse(p, t), losses.mse(z_torch, t_torch).item())
print("cift.losses has the same two formulas.")

# %% [markdown]
# A loss is a wish. What does each one wish for? Take five models: one that gives each label a third, one that is as
# divided as the crowd, and three that are sure, each of another label.


# %% tags=["nbval-check-output"]
def sure_of(k, confidence=0.98):
    return np.where(np.arange(3) == k, confidence, (1 - confidence) / 2)


states = {
    "undecided": np.full(3, 1 / 3),
    "as divided as the crowd": people,
    **{f"sure of {label}": sure_of(k) for k, label in enumerate(LABELS)},
}
pd.DataFrame(
    {(loss.__name__.upper(), how): {name: loss(p, t) for name, p in states.items()}
     for loss in (cce, mse) for how, t in targets.items()}
).round(2)  # fmt: skip

# %% [markdown]
# **Check.** Read the columns. With a one-hot target both losses are lowest for the model that is sure of that label:
# *contradiction* is gold, *neutral* the majority. With the distribution both are lowest for the model in the second
# row; MSE is 0 there, and CCE is not: it is the distribution's own entropy, in nats, which no model can get below. So
# the *place* of the minimum is the target's doing, and CCE and MSE agree about it. What they do not agree about is the
# way there. The row *sure of entailment*, which is wrong for every target, has a hint: CCE punishes a sure and wrong
# model without limit, MSE with 2/3 at most.
#
# ## 4 Gradient by gradient
#
# Training follows the *gradient*: how the loss changes with each logit. By the chain rule it is a product of two
# parts, how the loss changes with $p$ and how $p$ changes with $z$. The second part is the softmax's *Jacobian*, $J =
# \mathrm{diag}(p) - p p^\top$, the same for every loss:
#
# $$\frac{\partial \text{CCE}}{\partial z} = J \left(-\frac{t}{p}\right) = p - t, \qquad
# \frac{\partial \text{MSE}}{\partial z} = J \, \frac2K (p - t).$$
#
# In the first, dividing by $p$ cancels the Jacobian. In the second nothing cancels it. That is the whole difference
# between the two losses, and everything in the next two sections follows from it.


# %%
def cce_gradient(p, t):
    return p - t


def mse_gradient(p, t):
    d = 2 / len(p) * (p - t)
    return p * (d - p @ d)  # J d, without writing the matrix down


# %%
for p in states.values():
    jacobian = np.diag(p) - np.outer(p, p)
    for t in targets.values():
        assert np.allclose(cce_gradient(p, t), jacobian @ (-t / p))
        assert np.allclose(mse_gradient(p, t), jacobian @ (2 / 3 * (p - t)))

# %% [markdown]
# *Autograd*, which every training run uses, computes gradients without being told formulas. It should find the same.


# %%
def autograd(loss, p, t):
    z = torch.tensor(np.log(p)[None], requires_grad=True)
    loss(z, torch.tensor(t[None])).backward()
    return z.grad[0].numpy()


# %%
for p in states.values():
    for t in targets.values():
        assert np.allclose(autograd(losses.cce, p, t), cce_gradient(p, t))
        assert np.allclose(autograd(losses.mse, p, t), mse_gradient(p, t))
print("Autograd agrees, for", len(states), "models,", len(targets), "targets and both losses.")

# %% [markdown]
# Here are the gradients of our item with the sign turned round, so that they say where the model is *pulled*: a
# positive number raises that label's logit.

# %% tags=["nbval-check-output"]
gradients = {"CCE": cce_gradient, "MSE": mse_gradient}
pulls = {}
for state, p in states.items():
    for k, label in enumerate(LABELS):
        pulls[state, label] = {("", "p"): p[k]} | {
            (loss, how): -gradient(p, t)[k] for loss, gradient in gradients.items() for how, t in targets.items()
        }
pd.DataFrame(pulls).T.round(2) + 0.0  # no minus before a zero

# %% [markdown]
# **What to see.**
#
# - *Undecided*: gold and majority pull the same model towards different corners, with the same strength. The
#   distribution pulls towards the majority too, but less.
# - *As divided as the crowd*: the distribution is content. Gold is not and goes on pulling; it would be content only
#   at infinite logits.
# - *Sure of contradiction*, the gold label: the distribution pulls back, hard under CCE (.57 towards *neutral*, which
#   most people gave), hardly at all under MSE (.01).
# - *Sure of entailment*, which the crowd believes least: every target says no. Under CCE the pull is near its largest,
#   under MSE near its smallest.
#
# Each block sums to 0: adding the same number to all logits changes nothing.
#
# ### A distribution is all its labels
#
# Both gradients are linear in $t$. So the mean of the gradients over a thousand people's one-hot answers is the
# gradient of their distribution, and teaching the distribution is the same, on average, as teaching all the answers
# one by one.

# %% tags=["nbval-check-output"]
stratum = next(each for each in crowd.values() if ITEM in each.responses)
answers = stratum.responses[ITEM].dropna().map(LABELS.index)
for name, gradient in gradients.items():
    one_by_one = np.mean([gradient(p, t) for t in losses.one_hot(answers, 3)], axis=0)
    assert np.allclose(one_by_one, gradient(p, people))
    print(f"{name}: the mean pull of {len(answers)} answers is the pull of their distribution.")

# %% [markdown]
# **Check.** It also says what a loss does with *noise*. Linear in $t$, it learns from labels drawn at random, one
# person a time, what it would learn from their distribution; and it is lowest at $p = t$ (section 3). So in the long
# run both losses lead a model to the distribution from which its labels come: they are *proper scoring rules* (Gneiting
# & Raftery 2007). A soft label only spares the model the noise. (Linear alone is not enough: `losses.focal` is that
# too.)
#
# ## 5 Sure and wrong
#
# How strong is the pull on a model that is more and more sure of a wrong label? On the left the target is gold, on the
# right it is the crowd's distribution.

# %%
least = people.argmin()
log_odds = np.linspace(-4, 8, 200)
confidence = 1 / (1 + np.exp(-log_odds))
ticks = np.array([0.1, 0.5, 0.9, 0.99, 0.999])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, how in zip(axes, ("gold", "distribution"), strict=True):
    for k, (name, gradient) in enumerate(gradients.items()):
        size = [np.linalg.norm(gradient(sure_of(least, c), targets[how])) for c in confidence]
        plots.clean_axes(ax).plot(log_odds, size, plots.LINES[k], color=plots.COLOURS[k + 1], label=name)
    ax.set_xticks(np.log(ticks / (1 - ticks)), [f"{tick:g}" for tick in ticks])
    ax.set(xlabel=f"probability given to {LABELS[least]}", title=f"target: {how}", ylim=(0, None))
axes[0].set_ylabel("size of the gradient")
axes[0].legend(frameon=False)
figure.suptitle(f"{ITEM}; its people are simulated", fontsize=10)
plt.show()

# %% [markdown]
# **What to see.** CCE (solid) pulls the harder, the surer the model is of the wrong label. MSE (dashed) pulls a model
# that is in doubt, and lets go of one that is sure: the gradient **vanishes where the softmax saturates**. The cause
# is the Jacobian, whose entries are all near 0 when one $p_k$ is near 1. (On the right the curves do not touch 0 on
# the way, because the two other labels stay equal along them, which is not what the crowd wants.)
#
# How long does it take to get such a model back? Gradient descent on the three logits, at a learning rate of 1, until
# the gold label is the likeliest:

# %% tags=["nbval-check-output"]


def descend(gradient, t, p, steps, rate=1.0):
    """The probabilities on the way: (steps + 1, labels)."""
    z, way = np.log(p), [p]
    for _ in range(steps):
        z = z - rate * gradient(way[-1], t)
        way.append(softmax(z))
    return np.array(way)


def steps_back(gradient, confidence):
    way = descend(gradient, targets["gold"], sure_of(least, confidence), steps=6000)
    return int((way.argmax(axis=1) == gold).argmax())


pd.DataFrame({name: {c: steps_back(gradient, c) for c in (0.9, 0.99, 0.999)} for name, gradient in gradients.items()})

# %% [markdown]
# **Check.** Ten times surer costs CCE one step more, and MSE six to nine times as many steps. Whether that is a fault
# depends on why model and target disagree:
#
# - If the **model** is wrong, CCE corrects it and MSE gives up on it.
# - If the **label** is wrong, CCE learns the error with all its force and MSE ignores it for a long time. Bounded
#   losses bear wrong labels better for this reason (Ghosh, Kumar & Sastry 2017).
#
# One caution. The usual optimizer is Adam, which divides each step by the recent size of the gradient (notebook 09).
# So a small gradient does not mean small steps when *all* gradients are small; it is small beside the other items of
# the batch that matters. Under MSE the items in doubt outvote those that are surely wrong.
#
# ## 6 The way to the target
#
# With three labels, all distributions lie in a triangle (the *simplex*): a corner is certainty, the middle is equal
# doubt. Here is gradient descent on our item from four starts, the middle and near each corner. A dot is ten steps.

# %%
CORNERS = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
ways = {
    "CCE to the gold label": (cce_gradient, "gold"),
    "CCE to the majority": (cce_gradient, "majority"),
    "CCE to the distribution": (cce_gradient, "distribution"),
    "MSE to the distribution": (mse_gradient, "distribution"),
}
starts = [p for p in states.values() if p is not people]

figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
for ax, (name, (gradient, how)) in zip(axes, ways.items(), strict=True):
    ax.fill(*CORNERS.T, facecolor="none", edgecolor="#BBBBBB")
    for k, start in enumerate(starts):
        x, y = (descend(gradient, targets[how], start, steps=50) @ CORNERS).T
        ax.plot(x, y, color=plots.COLOURS[k], linestyle=plots.LINES[k])
        ax.plot(x[::10], y[::10], ".", color=plots.COLOURS[k])
    ax.plot(*(targets[how] @ CORNERS), "*", color="#D55E00", markersize=16, zorder=3)
    for label, corner, side in zip("ENC", CORNERS, ("right", "left", "center"), strict=True):
        ax.text(*(corner + (0, 0.08 if label == "C" else -0.1)), label, ha=side)
    ax.set(aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.12, 1.05), title=name)
    ax.axis("off")
figure.suptitle(f"50 steps on {ITEM} (simulated crowd); the star is the target", fontsize=10)
plt.show()

# %% [markdown]
# **What to see.** With a one-hot target every path ends in a corner, gold in one and majority in another. With the
# distribution all paths under CCE meet at the star, whatever the start. Under MSE only the model from the middle has
# come near; of the others one is half way, and the one that was sure of N has hardly left: its dots lie on top of
# each other. How many steps does each need until its distribution is within .01 of the crowd's? (The distance is the
# *total variation*, half the sum of absolute differences.)

# %% tags=["nbval-check-output"]


def steps_to(gradient, start):
    away = np.abs(descend(gradient, people, start, steps=5000) - people).sum(axis=1) / 2
    assert away[-1] < 0.01
    return int((away < 0.01).argmax())


pd.DataFrame({name: {k: steps_to(gradient, p) for k, p in states.items()} for name, gradient in gradients.items()})

# %% [markdown]
# **Check.** From every start both losses come to the crowd's distribution. They have the same goal; at the same
# learning rate MSE takes seven to ten times as many steps.
#
# ## 7 A whole lesson
#
# An item's three logits are not free in a real model: all items share its weights. What does a set of items do? The
# base model is the one of the small study in section 10. MiniLM has read `BASE_PAIRS` generated pairs, and answers the
# held-out scales of the study as it is. This is the arm *no fine-tuning*.

# %%
small = replace(
    study,
    name="embedded, cut down",
    base=study.base.select(range(BASE_PAIRS)),
    pool=study.pool.select(range(300)),
    validation=study.validation.select(range(150)),
    test=study.test.select(range(400)),
    held_out={name: study.held_out[name] for name in SCALES},
    base_recipe=replace(study.base_recipe, epochs=1),
    recipe=Recipe(strategy="features", learning_rate=2e-3, batch_size=16),
)
first = casestudy.run(small, seeds=[SEED], arm_names=[arms.BASELINE])
columns = ["held_out", "theta", "theta_se", "accuracy", "test_accuracy"]
pd.DataFrame(first["results"])[columns].round(2)

# %% [markdown]
# A model that has read so little knows some of its own corpus (`test_accuracy`; a third would be chance) and next to
# nothing of the probes. Only its *head* will learn, the small layer that makes logits of MiniLM's reading of a pair
# (the strategy *features*; notebook 06). The reading itself does not change, so it is computed once, and a lesson of
# 90 items then takes a second.
#
# Half of the probes are the **lesson**, the other half are **new** to the model.

# %%
base, tokenizer = models.load(str(cache_dir() / "base" / first["run"]["base"]["id"]), LABELS)
prefix, head = features.cut(base)


def read(corpus):
    return features.cache_states(prefix, finetuning.encode(corpus, tokenizer))


def teach(rows, target, loss, epochs=EPOCHS):
    pupil = copy.deepcopy(head)
    recipe = Recipe(loss=loss, strategy="features", epochs=epochs, learning_rate=1e-2, batch_size=16)
    finetuning.train(pupil, rows, target, recipe, SEED, progress=False)
    return pupil


halves = split(probes, {"lesson": 0.5, "new": 0.5}, SEED)
rows = {name: read(part) for name, part in halves.items()}

# %%
lessons = {
    "gold, CCE": "CIFT-CCE",
    "majority, CCE": "CIFT-CCE majority",
    "distribution, CCE": "CIFT-soft",
    "distribution, MSE": "CIFT-MSE",
    "smoothed gold, CCE": "label smoothing",
}
found = {("base model", name): finetuning.predict(head, rows[name], part) for name, part in halves.items()}
for lesson, arm in lessons.items():
    target = arms.targets(arm, halves["lesson"], shares)
    pupil = teach(rows["lesson"], target, arms.ARMS[arm].loss)
    for name, part in halves.items():
        found[lesson, name] = finetuning.predict(pupil, rows[name], part)

# %% [markdown]
# Four questions to each pupil: how sure it is (*confidence*, the mean probability of its answers), how near its
# probabilities are to people's (Jensen-Shannon distance: 0 is the same distribution, 1 no label in common), whether it
# doubts where they do, and how often it gives the gold label.


# %%
def measures(answers, crowd):
    p = evaluation.probabilities(answers)
    return {
        "confidence": p.max(axis=1).mean(),
        "distance to people": evaluation.distance_to_people(answers, crowd),
        "same doubts": bits(p).corr(bits(crowd).loc[p.index], method="spearman"),
        "accuracy": evaluation.accuracy(answers),
    }


def side_by_side(measured, ways):
    """A row for each way to teach, the lesson's measures on the left and those of new items on the right."""
    parts = {part: pd.DataFrame({way: measured[way, part] for way in ways}).T for part in ("lesson", "new")}
    return pd.concat(parts, axis=1).round(2)


measured = {way: measures(answers, shares) for way, answers in found.items()}
side_by_side(measured, ["base model", *lessons])

# %% [markdown]
# *Same doubts* is the rank correlation between the entropy of the model's probabilities and that of people's, over
# items: 1 if the model doubts most where people do, 0 if its doubts have nothing to do with theirs.
#
# **What to see.** On the **lesson**, each pupil has become what its loss wished for. Gold and majority make it nearly
# certain of everything, and the one learns the gold labels, the other is "wrong" where the majority is. The
# distribution makes it doubt, and doubt the *same items* as people, a little less so under MSE, which had as many
# steps.
#
# On the **new** half nothing of this is left: accuracy is at chance (90 items: the standard error is .05), and the
# doubts are no longer people's (that of a rank correlation is .11). This base model cannot read the probes well enough
# to see *why* an item is doubtful, so it learnt the 90 items by heart. No pupil is as near to people on new items as
# the base model was before the lesson (.40), and none as accurate (.43). Gold, which makes the model certain there too,
# did most harm. One small model and one seed: an illustration, not a finding.
#
# **Check.** The majority's pupil gives the gold label to 92 % of the lesson, gold's to all of it. Is it the worse
# pupil? (What was it asked for?)
#
# ## 8 Cheap rivals: softness for nothing
#
# Soft labels make a model less sure. So do two tricks that need at most one number of the crowd:
#
# - **Label smoothing** (Szegedy et al. 2016) takes the same share $\varepsilon$ of every gold label and spreads it
#   over all labels: $t' = (1 - \varepsilon)\, t + \varepsilon / K$.
# - **Temperature** (Guo et al. 2017) divides the logits of a model that is trained already by one number $T$, fitted
#   on labelled items.
#
# Smoothing is soft to the same degree for all items, and a temperature softens all items by the same rule. The crowd
# is soft item by item. If CIFT with distributions is worth its price, it has to beat these two, and not only the
# certain model. Here $\varepsilon$ is chosen so that the mean share left to the gold label is the crowd's own, and
# $T$ is fitted to the crowd's distributions on the lesson, *the very items on which it is judged* there, which flatters
# it.

# %%
temperature = fit_temperature(found["gold, CCE", "lesson"], shares)
for name in halves:
    found["gold, temperature", name] = scale(found["gold, CCE", name], temperature)

compared = ("gold, CCE", "gold, temperature", "smoothed gold, CCE", "distribution, CCE")
figure, axes = plt.subplots(2, 4, figsize=(11, 5.2), sharex=True, sharey=True, layout="constrained")
for line, name in zip(axes, halves, strict=True):
    for k, (ax, lesson) in enumerate(zip(line, compared, strict=True)):
        doubt = bits(evaluation.probabilities(found[lesson, name]))
        colour, marker = plots.COLOURS[k + 1], plots.MARKERS[k]
        plots.clean_axes(ax).plot(bits(shares).loc[doubt.index], doubt, marker, color=colour, markersize=3)
        ax.axline((0, 0), slope=1, color="#BBBBBB", zorder=0)
        ax.set_title(f"{lesson}\n{name} items", fontsize=9)
figure.supxlabel("entropy of the simulated crowd's distribution (bits)")
figure.supylabel("entropy of the model's (bits)")
plt.show()
measured |= {("gold, temperature", name): measures(found["gold, temperature", name], shares) for name in halves}
side_by_side(measured, ["base model", *compared])

# %% [markdown]
# **What to see.** Top row, the items of the lesson. After gold labels all points lie at the bottom: no doubt anywhere.
# A temperature lifts them, smoothing lifts them to one height, and neither knows which items to lift. Only the
# distribution brings them to the diagonal. Bottom row, new items: four clouds.
#
# **Check.** On the lesson, two fifths to a half of the way from gold to distribution, in *distance to people*, needs no
# crowd: temperature and smoothing go it too. On the new items they go all of it: there the distribution is no nearer
# to people than its rivals are, and farther from them than the base model was. Compared with the certain model alone,
# it would have looked like a success. This is why all of these are among the controls of the protocol.
#
# ### When doubt carries over
#
# On the probes doubt was learnt by heart. It can be more than that only where doubt has a *reason that the model can
# see*. We construct such a case: pairs of `scenes`, which the base model can read a little, and a **made-up crowd**
# that is sure of most kinds of pair and divided on some, those with quantifiers, numbers and the like.

# %%
DOUBTFUL = {"quantifier", "numeral", "disjunction", "implicative", "temporal", "plausible guess"}


def made_up(corpus):
    sure = losses.one_hot(corpus["label"], 3)
    doubtful = np.isin(corpus["phenomenon"], list(DOUBTFUL))[:, None]
    crowd = np.where(doubtful, losses.smooth(sure, 0.75), losses.smooth(sure, 0.075))
    return pd.DataFrame(crowd, corpus["item_id"][:], LABELS)


pairs = {"lesson": study.pool.select(range(300)), "new": small.test}
opinions = {name: made_up(corpus) for name, corpus in pairs.items()}
readings = {name: read(corpus) for name, corpus in pairs.items()}
opinions["lesson"].head(3).round(2).assign(phenomenon=pairs["lesson"][:3]["phenomenon"])

# %%
sure = losses.one_hot(pairs["lesson"]["label"], 3)
left_to_gold = (opinions["lesson"].to_numpy() * sure).sum(axis=1).mean()
teachers = {
    "gold": sure,
    "smoothed gold": losses.smooth(sure, (1 - left_to_gold) * 3 / 2),
    "distribution": opinions["lesson"].to_numpy(),
}
carried = {}
for way, target in teachers.items():
    pupil = teach(readings["lesson"], target, "cce")
    for name, corpus in pairs.items():
        carried[way, name] = measures(finetuning.predict(pupil, readings[name], corpus), opinions[name])
side_by_side(carried, teachers)

# %% [markdown]
# **Check.** Compare *same doubts* on the new pairs with the table before. Here item-by-item softness does carry over,
# and smoothing, which is as soft on average, does not bring it: gold and smoothing even doubt where this crowd is sure,
# because what it doubts is what the base model reads best. The *distance* is no more than a little shorter (.38 against
# .40), and the three pupils have about the same accuracy. So the question to a real crowd is not whether soft labels
# can work, but whether people's doubts have reasons that *this* model can see in *so few* items. That is what the study
# has to find out.
#
# ## 9 The protocol
#
# An experiment that compares two models can go wrong in many ways. Each rule here closes one of them.
#
# **Leave one group out.** The items of a scale measure; the items of all other groups teach. No item does both.

# %%
for name, held in small.held_out.items():
    taught, measured = set(held.supplement["item_id"]), set(held.items["item_id"])
    assert not taught & measured
    print(f"{name}: learns from {len(taught)} items, is measured on {len(measured)} others")

# %% [markdown]
# All items of a scale have the same gold label. A model that prefers this label looks able on one scale and unable on
# two others, so the small study holds out three, **one of each label**, and the lesson repeats items of the label that
# is left out until all three are equally frequent (`selection.balance`).
#
# **Arms and controls.** Every arm starts from the same base model. An *arm* is what a model learns from: which items,
# which labels, which loss. (*pool* are random pairs of the base corpus; *no fine-tuning* has no items, so its labels
# say nothing; *temperature* trains nothing, and fits one number to the crowd's distributions.)

# %%
chosen = [*arms.MAIN, "temperature", "label smoothing"]
pd.DataFrame({name: asdict(arms.ARMS[name]) for name in chosen}).T[["items", "labels", "loss"]].fillna("-")

# %% [markdown]
# | compare | and you learn |
# |---|---|
# | *CIFT-CCE* and *no fine-tuning* | what more training on the crowd's items does |
# | *CIFT-CCE* and *random items* | whether it has to be the crowd's items |
# | *CIFT-soft* and *CIFT-CCE* | what the distribution adds, with the same loss |
# | *CIFT-MSE* and *CIFT-soft* | what the loss adds, with the same distribution |
# | *CIFT-soft* and *label smoothing* or *temperature* | whether the softness has to be item by item |
#
# A gain that a control has as well is not the crowd's. `arms.ARMS` has more: independent items, items
# chosen by difficulty or information (notebook 05), sizes from 10 to 90.
#
# **Choose on nothing that you measure on.** A learning rate that suits CCE may not suit MSE, whose gradients are
# smaller. So each arm has its own, and its own number of epochs, by a small search. If the search looked at the
# held-out scale, what would that do? Let six settings be equally good, each right on 70 % of all items that there
# could be, and take the best one on thirty:

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(SEED)
searched = rng.binomial(30, 0.7, (20_000, 6)) / 30
print(f"accuracy of any one of them {searched[:, 0].mean():.2f}, of the best of six on its thirty items "
      f"{searched.max(axis=1).mean():.2f}")  # fmt: skip

# %% [markdown]
# **Check.** The winner's accuracy is .1 too high although no setting is better than another. (This is the worst case,
# in which the six err independently; settings of one model err alike, and gain less.) An arm with more settings would
# win by that alone. So a trial is judged by items that no scale and no test contains: a fifth of the
# lesson, set aside, and validation pairs of the base corpus, half and half. Tried are three learning rates, a third
# of the recipe's, the recipe's and three times it, each with 2 and with 6 epochs.
#
# **Ability with its standard error.** The answers to a scale's items give $\theta$, in standard deviations of the
# (simulated) population, and its standard error (notebook 11). Thirty items leave an error of a quarter or more. That
# is the error of *one* model's place among people; two arms answer the same items, so a part of it cancels in their
# difference.
#
# **Seeds, in pairs.** The seed decides the order of items and which random items are drawn. Arms share their seeds, so
# differences are taken seed by seed, and have an interval.
#
# ## 10 A small study, live
#
# One call runs search and cells: arms × held-out scales × seeds. Finished cells are kept in a *ledger*, so a run that
# is interrupted goes on where it was.

# %%
live = casestudy.run(small, seeds=range(SEEDS), arm_names=chosen)
search = pd.DataFrame(live["search"])
print(f"{len(search)} trials, then {len(live['results']['arm'])} cells")
search.pivot_table(index="arm", columns=["epochs", "learning_rate"], values="log_loss", sort=False).round(2)

# %% [markdown]
# The search's log-loss of the *gold* labels, for all arms, in nats, as a mean over the held-out scales; a model that
# gives each label a third has $\ln 3 = 1.10$. Compare within a row only: each arm is judged by a fifth of its own
# lesson, so *random items* is judged by pairs of the base corpus alone. Each arm takes the best setting for each scale;
# label smoothing takes those of CIFT-CCE, temperature needs none.
#
# **Check.** Where in its row is the best setting? That of CIFT-CCE is in the corner, the lowest rate and the fewest
# epochs: the best may lie beyond, and the search should be widened before anything is concluded. And those of CIFT-MSE
# and CIFT-soft are barely below 1.10: by this measure the less they learn here, the better.

# %%
casestudy_report.abilities(live)

# %% [markdown]
# $\theta$ ± its standard error and the percentile among the simulated respondents, as means over seeds; then the same
# and other metrics as a figure:

# %%
plots.study(live)
plt.show()

# %% [markdown]
# **What to see.** Left, where the arms stand on each held-out scale; bars are one standard error. Look at one arm
# across the three scales: where it is high on one and low on another, it has changed its preference for a label, not
# its ability, and the mean over scales tells. Right, the paired differences from *no fine-tuning* with 95 % intervals
# over seeds. With two seeds an interval is as good as no interval: Student's $t$ with one degree of freedom takes
# 12.7 standard errors to each side; and where two seeds happen to agree it is tiny, which is luck, not precision.
# (*Temperature* has none: nothing in it is random.) The clearest change is a loss: all arms that learnt the crowd's
# items have unlearnt a part of the base task (*test accuracy*), which so small a base model pays for a change of its
# head.
#
# All of these are differences from one and the same base model. The questions of section 9 are about other pairs of
# arms:

# %%
results = pd.DataFrame(live["results"])
questions = [
    ("CIFT-CCE", "random items"),
    ("CIFT-soft", "CIFT-CCE"),
    ("CIFT-MSE", "CIFT-soft"),
    ("CIFT-soft", "label smoothing"),
    ("CIFT-soft", "temperature"),
]
differences = {
    f"{arm} less {other}": {
        metric: casestudy_report.in_words(evaluation.paired_difference(results, arm, other, metric))
        for metric in ("theta", "jsd")
    }
    for arm, other in questions
}
pd.DataFrame(differences).T

# %% [markdown]
# **Check.** Which of these intervals would you report? With two seeds none, whichever way it points.
#
# ## 11 What may be concluded
#
# From these numbers about CIFT: **nothing**. They show how a study works. A base model that has read so few pairs is
# not the one that the question is about; its head alone was trained; two seeds; three of six scales; a crowd that is
# simulated, so that its doubts are what a program says.
#
# What would a conclusion need? `cift.claims` writes it down: what was claimed and where,
# which two arms in which metric would show it, and the smallest difference that matters.

# %%
claimed = pd.DataFrame([asdict(claim) for claim in claims.CLAIMS])
claimed["margin"] = claimed["metric"].map(claims.MARGIN)
claimed[["words", "metric", "claimed", "arm", "baseline", "margin"]]

# %% [markdown]
# **Check.** That one arm is *better* is *reproduced* only when the paired difference is beyond chance in the claimed
# direction, after correction for the number of claims (Holm 1979), and *not reproduced* when it is so in the other
# direction, or when its interval excludes a difference that matters. That it is *not worse* is reproduced when the
# whole interval is above minus the margin. Everything between is *inconclusive*, which is what a small study nearly
# always is. Compare the margin for $\theta$, 0.1, with the standard errors above.
#
# The full studies, with every arm, all scales, at least ten seeds, and real people, are in `results/`. Notebook 12
# reads them, and `cift claims` prints the table of verdicts.
#
# ## 12 Your own crowd
#
# A study is data. Yours is one TOML file beside three tables: pairs for the base model, the items that people were
# asked, and their answers. `own_study.EXAMPLE` shows every key. To see it work, we write the tables of such a study
# with 90 probes and their simulated crowd; the parts of the items that are held out are random here.

# %%
TOML = """
population = "1,000 simulated respondents"
[corpus]
base = "pairs.csv"        # premise, hypothesis, label
[crowd]
items = "items.csv"       # item_id, premise, hypothesis, label
answers = "answers.csv"   # a row a person, a column an item
held_out = 3              # random parts; or a column of items, such as "topic"
"""
folder = Path(tempfile.mkdtemp())
asked = probes.filter(lambda stratum: stratum == "G4", input_columns="stratum")
for name, corpus in (("pairs", small.base.select(range(200))), ("items", asked)):
    labels = corpus.features["label"].int2str(corpus["label"][:])
    table = corpus.to_pandas()[["item_id", "premise", "hypothesis"]].assign(label=labels)
    table.to_csv(folder / f"{name}.csv", index=False)
crowd["G4"].responses.to_csv(folder / "answers.csv", index_label="respondent")
(folder / "mine.toml").write_text(TOML)
mine = read_study(folder / "mine.toml")
{part: (len(held.items), len(held.supplement)) for part, held in mine.held_out.items()}

# %% [markdown]
# **Check.** The numbers are items on each scale, and items to learn from before the model is measured on it. Every
# item is measured on once. On the command line the same is
#
# ```
# cift case-study --study mine.toml --seeds 10 --arms all --json mine.json --figure mine
# ```
#
# How many people, and how many items, are enough for it? Notebook 03 has the answer for labels, 04 for scales. With
# few answers to an item `method = "map"` gives the calibration priors.

# %% [markdown]
# ## Recap
#
# - A target (gold, majority, distribution) says where the minimum is; a loss says how the model gets there.
# - In the logits, the gradient of the cross-entropy is $p - t$, that of MSE the same times the softmax's Jacobian and
#   $2/K$. It vanishes where the model is certain, right or wrong.
# - Both are linear in the target: a distribution teaches what all its answers teach one by one.
# - Soft labels make a model doubt, and so do smoothing and temperature. Only the crowd knows *which* items are
#   doubtful, and that helps on new items only if the model can see why.
# - Held-out scales, controls, shared seeds, and settings that are chosen on nothing that is measured on: without them
#   a difference has many explanations.
# - A small study is an illustration. Findings are in the records.

# %% [markdown]
# ## Exercises
#
# 1. Set `ITEM = "g5e01"`, on which people agree, and run sections 2 to 6. Which of the differences between targets
#    and losses are left?
# 2. Work out the gradient in the logits of the Brier score, $\sum_k (p_k - t_k)^2$, and check it against `losses.brier`
#    with autograd. What learning rate makes plain gradient descent on MSE take the same steps?
# 3. Draw section 5's figure for `losses.focal` and `losses.js` (`help` says what they are), with `autograd`. Which of
#    them lets go of a model that is sure and wrong? Does `focal` come to the crowd's distribution in section 6?
# 4. In section 7, turn the gold labels of ten items of the lesson into wrong ones, and teach them with CCE and with
#    MSE, with `epochs=3` and with `EPOCHS`. Which loss believes the wrong labels?
# 5. In section 8, let the made-up crowd doubt on pairs that are drawn at random instead. What becomes of *same
#    doubts*, on the lesson and on the new pairs?
# 6. Run `claims.table([live])`. Which verdicts does it give, and how wide are the intervals? How many seeds
#    would you need for an interval of ± 0.1, if the spread between seeds stays as it is?

# %% [markdown]
# ## Where next
#
# `09_optimise_and_regularise` has optimizers, label smoothing and the other remedies against overfitting.
# `12_rte_case_study` reads the full studies: embedded data and real people. `11_measure_ability` explains the $\theta$
# that is measured here, `05_select_items` how to choose what to learn from.

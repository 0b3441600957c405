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
# # 00 Start here: one model among a thousand respondents
#
# **The question.** A model gets 25 of 30 items right. Is that good? It depends on *which* items, and on how
# people do on them. Crowd-Informed Fine-Tuning (CIFT) takes both seriously: it asks a crowd, finds out with
# item response theory (IRT) what each item tells, fine-tunes on what it learnt, and measures the model on the
# same scale as the people.
#
# **After this notebook you can**
#
# - say what the *difficulty* and the *discrimination* of an item are, and read them off a curve;
# - compute a person's *ability* from right and wrong answers, with its standard error;
# - fine-tune a small language model and place it among people.
#
# **Time.** About 10 minutes to read; it runs in about 1 minute on a laptop with 2 cores, in less on a GPU.
# **Needs:** the embedded data and weights, no network. **Makes:** nothing on disk.

# %% [markdown]
# ## Set-up
#
# The first cell holds every number that you may want to change. The second shows what this notebook ran on:
# the same seed gives the same numbers on the same machine, and nearly the same on another one.

# %% tags=["parameters"]
SCALE = "5GS-N"  # the group of items that the model is measured on, one of {5GS,4GS}-{E,N,C}
TRAIN_PAIRS = 2000  # sentence pairs for the model's first lesson
SEED = 0

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cift import ability, crowds, finetuning, irt, losses, models, plots, selection
from cift.corpora import load_corpus
from cift.doctor import machine, versions

{name: versions()[name] for name in ("cift", "python", "torch", "transformers")} | machine()

# %% [markdown]
# `cift doctor` on the command line prints the same and more: which data and weights are found, and what to do
# about what is missing.

# %% [markdown]
# ## 1 The task: does one sentence follow from another?
#
# In *natural language inference* (NLI, also called recognizing textual entailment, RTE) there are two
# sentences. Given the **premise**, the **hypothesis** is surely true (*entailment*), surely false
# (*contradiction*), or may be either (*neutral*). The `probes` are 180 such pairs, written for this project.

# %% tags=["nbval-check-output"]
probes = load_corpus("probes").to_pandas()
probes["label"] = probes["label"].map(dict(enumerate(("entailment", "neutral", "contradiction"))))
group = probes[probes["group"] == SCALE].set_index("item_id")
pd.set_option("display.max_colwidth", 90)
group[["premise", "hypothesis", "label"]].iloc[[0, 14, 29]]

# %% [markdown]
# The group's name says how it was built. `5GS-N`: written so that five of five careful annotators would say *neutral*
# (N), which is then the **gold** label. There are six groups of thirty, for two levels of agreement (five of five, four
# of five) and three labels (E, N, C), as in the study that this project reproduces (Lalor, Wu & Yu 2016).

# %% [markdown]
# ## 2 The crowd: a thousand answers to each item
#
# Here the crowd is **simulated**: 1,000 made-up respondents whose true abilities are known, so that everything
# can be checked, without a network. One crowd, G5, answered the three 5GS groups, another one, G4, the 4GS groups.
# Notebook 12 has answers of real people.

# %%
responses, gold = crowds.load_crowd("probes")[f"G{SCALE[0]}"]
responses[group.index[:5]].head(4)

# %% [markdown]
# An answer is right when it is the gold label. That turns the table of labels into a table of 1 and 0; a
# missing answer stays missing.

# %% tags=["nbval-check-output"]
scored = crowds.score(responses, gold)[list(group.index)]
share = scored.mean().sort_values()
share.describe().loc[["min", "50%", "max"]].round(2)

# %% [markdown]
# Take three items: the one that fewest simulated respondents got right, one in the middle, and the easiest.

# %%
three = [share.index[0], share.index[len(share) // 2], share.index[-1]]
group.loc[three, ["premise", "hypothesis"]].assign(right=share[three].round(2))

# %% [markdown]
# **Check.** Read the hardest of the three. Which wrong answer would you expect from someone in a hurry? The
# crowd's distribution over the labels says which one tempted them (the simulation was told by the item's author):

# %% tags=["nbval-check-output"]
crowds.label_distributions(responses).loc[three].round(2)

# %% [markdown]
# ## 3 One curve per item
#
# The share of right answers mixes two things: how hard the item is, and who answered. IRT takes them apart.
# Every person has an **ability** $\theta$, every item a **difficulty** $b$ and a **discrimination** $a$, and
#
# $$P(\text{right} \mid \theta) = \frac{1}{1 + e^{-a(\theta - b)}}.$$
#
# At $\theta = b$ the chance is one half. The larger $a$, the steeper the curve there: the better the item
# separates people just below $b$ from people just above. Abilities are measured in standard deviations of the
# population: $\theta = 0$ is average, $\theta = 1$ is better than 84 % of people. Two assumptions are built in: one
# ability explains all items, and given that ability, the answers to different items are independent.


# %% tags=["nbval-check-output"]
def chance(theta, a, b):
    return 1 / (1 + np.exp(-a * (theta - b)))


chance(theta=0.0, a=1.5, b=np.array([-2, 0, 2])).round(2)

# %% [markdown]
# Nobody knows $a$, $b$ or $\theta$ beforehand. `calibrate` finds the $a$ and $b$ of all items that make the
# thousand rows of answers most probable, averaging over the unknown abilities (*marginal maximum likelihood*;
# notebook 04 will write it in twenty lines).

# %% tags=["nbval-check-output"]
bank = irt.calibrate(scored, SCALE + " (simulated)")
bank.items.set_index("item_id").loc[three, ["a", "a_se", "b", "b_se"]].round(2)

# %% [markdown]
# The columns `a_se` and `b_se` are standard errors. An easy item that nearly everybody gets right has an
# uncertain difficulty: few people are near enough to its curve's middle.

# %%
plots.item_curves(bank, three)
plt.gca().set_title("Three items of the probes (simulated crowd)")
plt.show()

# %% [markdown]
# **What to see.** The curves run from left (easy) to right (hard). Where a curve is steep, the item says much
# about a person; where it is flat, everyone answers alike and the item says nothing.

# %%
items = bank.items.set_index("item_id").loc[three]
assert np.allclose(irt.probability(np.array([0.7]), items)[0], chance(0.7, items["a"], items["b"]))
print("The package's curve is the formula above.")

# %% [markdown]
# **Check.** The simulation knows the truth. Do the estimated difficulties find it?

# %%
truth = pd.read_csv("../data/probes/truth_items.csv", index_col="item_id")
estimate = bank.items.set_index("item_id")["b"]
ax = plots.clean_axes()
ax.errorbar(truth.loc[estimate.index, "b"], estimate, yerr=1.96 * bank.items["b_se"], fmt="o", color="#0072B2")
ax.axline((-2, -2), slope=1, color="#BBBBBB", zorder=0)
ax.set(xlabel="true difficulty b", ylabel="estimate with 95% interval", title="Simulated crowd")
plt.show()

# %% [markdown]
# **What to see.** The estimates follow the diagonal; for `5GS-N`, 27 of 30 intervals cross it, and the intervals are
# widest for the easy items.

# %% [markdown]
# ## 4 From answers to ability
#
# Turn the same curves round. Before any answer, all we know about someone is the population:
# $\theta \sim N(0, 1)$. Each right answer multiplies that by a rising curve, each wrong one by a falling curve.
# What is left is the *posterior*; its mean is the ability estimate (EAP), its standard deviation the standard
# error.


# %%
def posterior(answers, items):
    theta = np.linspace(-6, 6, 601)
    density = np.exp(-(theta**2) / 2)
    for answer, a, b in zip(answers, items["a"], items["b"], strict=True):
        p = chance(theta, a, b)
        density *= p if answer == 1 else 1 - p
    return theta, density / density.sum()


# %% [markdown]
# Three made-up people answer all items of the scale. The first misses only the item with the largest discrimination
# $a$, the second only the item with the smallest, the third misses every third item.

# %%
ordered = bank.items.sort_values("a").set_index("item_id")
who = ["misses the largest a", "misses the smallest a", "misses every third"]
people = pd.DataFrame(1.0, index=who, columns=ordered.index)
people.iloc[0, -1] = people.iloc[1, 0] = 0.0
people.iloc[2, ::3] = 0.0

ax = plots.clean_axes()
for (name, answers), line, colour in zip(people.iterrows(), plots.LINES, plots.COLOURS[1:], strict=False):
    theta, density = posterior(answers, ordered)
    ax.plot(theta, density / density.max(), line, color=colour, label=name)
ax.set(xlabel="ability θ", ylabel="posterior (peak = 1)", xlim=(-4, 4))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** Missing one item of thirty still leaves a wide range of abilities: near the top of a scale there are
# few items left that could tell an able person from an even abler one.

# %%
by_hand = [theta @ density for theta, density in (posterior(row, ordered) for _, row in people.iterrows())]
eap = ability.eap(people, bank)
assert np.allclose(eap["theta"], by_hand, atol=1e-3)
eap[["theta", "theta_se", "percentile"]].round(2)

# %% [markdown]
# The first two people have the **same number of right answers** and not the same ability. In this model a right
# answer counts with its item's discrimination: missing an item that separates people well costs more. How *hard* the
# missed item was does not enter, given the item's $a$.

# %% [markdown]
# ## 5 A model takes the test
#
# MiniLM is a small language model (22.7 million parameters) that came with the installation. It has never seen
# the probes. Its first lesson is 2,000 pairs of `scenes`, a corpus that a grammar generates.

# %%
scenes = load_corpus("scenes", "train").select(range(TRAIN_PAIRS))
names = scenes.features["label"].int2str(scenes[:3]["label"])
pd.DataFrame(scenes[:3])[["premise", "hypothesis"]].assign(label=names)

# %% [markdown]
# Fine-tuning puts a new layer on top, which turns MiniLM's reading of a pair into three numbers (*logits*), one
# per label, and then changes all weights step by step so that the gold label gets the largest. The loss is
# *categorical cross-entropy* (CCE): minus the log of the gold label's probability.

# %%
model, tokenizer = models.load("minilm", seed=SEED)
rows = finetuning.encode(scenes, tokenizer)
recipe = finetuning.Recipe(loss="cce", epochs=1, learning_rate=1e-4)
cost = finetuning.train(model, rows, losses.one_hot(scenes["label"], 3), recipe, seed=SEED)
print(f"{cost['steps']} steps")

# %% [markdown]
# Now the model answers the items of the scale, and `place` treats it as one more respondent.

# %%
corpus = load_corpus("probes")
scale = corpus.filter(lambda name: name == SCALE, input_columns="group")
answers = finetuning.predict(model, finetuning.encode(scale, tokenizer), scale)
before = ability.place(answers, bank, "after scenes")
answers[["item_id", "label", "predicted"]].head(4)

# %% [markdown]
# ## 6 The crowd as a teacher
#
# CIFT fine-tunes once more, now on the crowd's items, all groups but the one that the model is measured on.
# With the loss MSE the model is not asked for the gold label, but to be **as undecided as the crowd**: the
# target is the whole distribution of answers. `balance` repeats items until all three gold labels are equally frequent;
# otherwise the model would mostly learn to avoid the label of the group that was left out.

# %%
lesson = selection.balance(corpus.filter(lambda name: name != SCALE, input_columns="group"))
crowd = crowds.load_crowd("probes").values()
distributions = pd.concat([crowds.label_distributions(stratum.responses) for stratum in crowd])
target = distributions.loc[lesson["item_id"], ["entailment", "neutral", "contradiction"]].to_numpy()
recipe = finetuning.Recipe(loss="mse", epochs=3, learning_rate=1e-4, batch_size=16)
pupil = copy.deepcopy(model)
finetuning.train(pupil, finetuning.encode(lesson, tokenizer), target, recipe, seed=SEED)
answers = finetuning.predict(pupil, finetuning.encode(scale, tokenizer), scale)
after = ability.place(answers, bank, "after scenes and CIFT-MSE")

# %%
plots.ability(bank, pd.concat([before, after]), people="simulated respondents")
plt.show()

# %% [markdown]
# **What to see.** The grey bars are the simulated respondents, the points are one model before and after it
# learnt from the crowd, with one standard error to each side. This is one model, one seed and one scale: a
# picture of the method, **not a finding**. Whether CIFT helps is a question for many runs with controls, which
# notebook 12 asks. One reason for care: all items of this scale have the same gold label, so a model that always
# gives this label looks very able here.

# %% [markdown]
# **Check.** How often does the pupil give each label on this scale?

# %%
answers["predicted"].value_counts().to_frame()

# %% [markdown]
# ## Recap
#
# - An item has a difficulty $b$ and a discrimination $a$; they come from a crowd's answers.
# - An ability is a posterior: always give its standard error.
# - A model can be placed among people as one more respondent, provided that the items work for it as they do for
#   people (*measurement invariance*). That is assumed here, not tested.
# - CIFT takes the crowd as a teacher (which items, which distribution) and as a yardstick.

# %% [markdown]
# ## Exercises
#
# 1. Set `SCALE = "4GS-C"` and run all cells. How many of the thirty items do most respondents get "wrong"? If they
#    were people, what would that say about the gold label? Why can simulated answers not say it?
# 2. In section 4, what is the ability of someone who gets *all* items right, and its standard error? Why is it
#    not infinite? (`ability.eap` marks it `at_ceiling`.)
# 3. In section 6, take `loss="cce"` with gold labels as targets (`losses.one_hot(lesson["label"], 3)`). Which pupil
#    is more *confident*? Compare `evaluation.probabilities(answers)`.
# 4. Train on 200 and on 12,000 pairs of scenes first. Does the model's place among people follow?

# %% [markdown]
# ## Where next
#
# `12_rte_case_study` runs the whole protocol, with controls, seeds and intervals, and shows what it found on
# embedded data and on real people.

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
# # 12 The RTE case study: does learning from the crowd make a model more able?
#
# **The question.** Fine-tune a model on the few items that a crowd has answered. Does its *ability* on items
# that it has not seen go up, as people's ability is measured? Does it matter whether it learns the gold label
# (CCE) or the crowd's whole distribution (MSE)? And is the gain the crowd's, or would any extra items do?
#
# **After this notebook you can**
#
# - read the protocol: base model, supplemental set, held-out scale, arms, controls, seeds;
# - run one cell of it live and find it again in the ledger;
# - read a record: abilities with standard errors, paired differences with intervals, and their limits.
#
# **Time.** 15 minutes to read; about 1 minute to run on 2 cores, because the full-size numbers come from
# committed records. **Needs:** embedded data and weights, records in `results/`. **Makes:** a base model and a
# few cells in the cache folder that `cift doctor` names.

# %% tags=["parameters"]
RECORD = "../results/embedded.json"  # the full-size run that sections 5 and 6 show
LIVE_SCALE = "5GS-C"  # the scale of the cells that section 4 runs live
LIVE_PAIRS = 1000  # sentence pairs of base training in the live run; 11000 is the study's own size
LIVE_TEST_PAIRS = 500
LIVE_SEEDS = 1

# %%
import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from cift import casestudy, plots
from cift.doctor import machine, versions
from cift.studies import load_study

{name: versions()[name] for name in ("cift", "python", "torch", "transformers")} | machine()

# %% [markdown]
# ## 1 The material
#
# A *study* says which corpus, which crowd, which scales and which recipe. The study `embedded` needs no
# network: its corpus are the generated `scenes`, its items the `probes`, its crowd is **simulated**.

# %%
study = load_study("embedded")
pd.Series({name: len(getattr(study, name)) for name in ("base", "pool", "test")}, name="pairs").to_frame()

# %% [markdown]
# `base` is what the base model learns from; `pool` are further pairs of the same corpus, kept aside for a
# control; `test` is the corpus's test set.

# %%
scales = pd.DataFrame(
    {
        name: {
            "items": len(held.items),
            "mean a": held.bank.items["a"].mean(),
            "mean b": held.bank.items["b"].mean(),
            "items to learn from": len(held.supplement),
        }
        for name, held in study.held_out.items()
    }
).T
scales.round({"mean a": 1, "mean b": 1}).astype({"items": int, "items to learn from": int})

# %% [markdown]
# **What to see.** Six scales, one per stratum and label. Entailment in `5GS-E` is easy for the simulated crowd
# (mean difficulty far below 0), contradiction in `4GS-C` is hard. To be measured on one scale, a model learns
# from the items of the *other* groups only.

# %%
for name, held in study.held_out.items():
    assert not set(held.supplement["item_id"]) & set(held.items["item_id"]), name
print("No held-out item is learnt from.")

# %% [markdown]
# ## 2 What a scale can say
#
# An easy scale cannot tell a good model from an excellent one: whoever gets everything right has reached its
# **ceiling**. The ability printed there is a lower bound in spirit, with a wide standard error.

# %%
from cift.ability import eap

ceilings = {}
for name, held in study.held_out.items():
    perfect = pd.DataFrame(1.0, index=["all right"], columns=held.bank.items["item_id"])
    ceilings[name] = eap(perfect, held.bank).loc["all right", ["theta", "theta_se", "percentile"]]
pd.DataFrame(ceilings).T.astype(float).round({"theta": 2, "theta_se": 2, "percentile": 0})

# %% [markdown]
# **What to see.** A perfect answer sheet on `5GS-E` is worth less than one on `4GS-C`: the first is only a little
# better than average. A percentile near the ceiling is about the scale as much as about the model.

# %% [markdown]
# **Check.** Where does the scale look? The information curve says at which abilities its items tell most.

# %%
import numpy as np

from cift.irt import information

theta = np.linspace(-4, 4, 161)
ax = plots.clean_axes()
for k, (name, held) in enumerate(study.held_out.items()):
    total = information(theta, held.bank.items).sum(axis=1)
    ax.plot(theta, total, plots.LINES[k % 4], color=plots.COLOURS[k], label=name)
ax.set(xlabel="ability θ", ylabel="test information (1 / SE²)", title="Six scales (simulated crowd)")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** The peaks of the entailment scales lie far to the left. Above average ability they hardly
# separate one model from another; the contradiction scales do.

# %% [markdown]
# ## 3 Arms and controls
#
# Every arm starts from the same base model, and arms share their seeds, so differences between them are
# *paired*.

# %%
pd.Series(casestudy.ARMS, name="loss").fillna("-").to_frame()

# %% [markdown]
# - **no fine-tuning** is the base model as it is.
# - **random items, CCE** is fine-tuned on as many items, drawn at random from `pool`. If this arm gains as much as
#   CIFT, then the gain is not the crowd's.
# - **CIFT-CCE** learns the gold labels of the crowd's items: minus the log of the gold label's probability.
# - **CIFT-MSE** learns the crowd's distribution: the squared distance between the model's probabilities and
#   the crowd's shares.
#
# What the two losses ask for is not the same. On an item that divides people, the gold label wants certainty and
# the distribution wants doubt:

# %%
import torch

from cift.losses import cce, mse

people = torch.tensor([[0.45, 0.50, 0.05]])  # a divided crowd; the gold label is the second
gold = torch.tensor([[0.0, 1.0, 0.0]])
for logits in (people.log(), 4 * people.log(), 20 * people.log()):
    p = logits.softmax(1)[0]
    print(f"model {p[0]:.2f} {p[1]:.2f} {p[2]:.2f}   CCE {cce(logits, gold):.2f}   MSE {mse(logits, people):.3f}")

# %% [markdown]
# **What to see.** As the model becomes more certain (downwards), CCE falls all the time, while MSE rises from zero:
# it punishes being surer than people are.

# %% [markdown]
# **Check.** How much of the held-out crowd's disagreement could a model learn at all? The entropy of the
# distributions tells where people are divided.

# %%
shares = study.distributions[["entailment", "neutral", "contradiction"]]
entropy = -(shares * np.log2(shares.where(shares > 0, 1))).sum(axis=1)
entropy.groupby(entropy.index.str[:3]).mean().round(2).rename("mean entropy (bits)").to_frame()

# %% [markdown]
# ## 4 Cells, live
#
# One *cell* is one arm, one held-out scale and one seed. Here are the cells of one scale, with a base model
# that has read only `LIVE_PAIRS` pairs, so that this takes a minute.

# %%
small = replace(
    study,
    base=study.base.select(range(LIVE_PAIRS)),
    test=study.test.select(range(LIVE_TEST_PAIRS)),
    held_out={LIVE_SCALE: study.held_out[LIVE_SCALE]},
)
live = casestudy.run(small, seeds=range(LIVE_SEEDS))

# %%
columns = ["arm", "seed", "n_train", "theta", "theta_se", "percentile", "accuracy", "test_accuracy", "jsd"]
pd.DataFrame(live["results"])[columns].round(2)

# %% [markdown]
# Each row went into the *ledger*, a folder of small files. Run the cell again, or after an interruption: what is
# finished is not done twice.

# %%
again = casestudy.run(small, seeds=range(LIVE_SEEDS))
assert again["results"] == live["results"]
print(f"{again['run']['cells_from_ledger']} of {len(again['results'])} cells came from the ledger")

# %% [markdown]
# These numbers are from a small base model and few seeds. They show how it works and are **not a finding**.

# %% [markdown]
# ## 5 The record of the full study
#
# A record holds one row per cell, and where it came from: data hashes, recipe, versions, machine, seconds,
# memory.

# %%
record = json.loads(Path(RECORD).read_text())
print(casestudy.headline(record))

# %%
casestudy.summary(record)

# %% [markdown]
# Read a cell of the upper rows as *ability ± standard error (percentile among the simulated people)*, averaged over
# seeds. The rows below are means over all scales, and the change from the base model with a 95 % interval over
# seeds.

# %%
plots.study(record)
plt.show()

# %% [markdown]
# **What to see.** Left: where each arm stands on each held-out scale. The bars are the standard error of *one*
# ability, which thirty items cannot make smaller. Right: the paired changes. An interval that crosses the grey line
# is compatible with no change. A lower *distance to people* is better.

# %% [markdown]
# **Check.** Which changes does this record support? The cell below says it for any record, in words.

# %%
from cift.evaluation import paired_difference


def in_words(record):
    results = pd.DataFrame(record["results"])
    for metric, label in casestudy.METRICS.items():
        for arm in casestudy.arms_of(results)[1:]:
            found = paired_difference(results, arm, casestudy.BASELINE, metric)
            if not found["low"] > 0 and not found["high"] < 0:
                verdict = "no clear change"
            else:
                verdict = "goes up" if found["difference"] > 0 else "goes down"
            interval = f"[{found['low']:+.3f}, {found['high']:+.3f}]"
            print(f"{label:22} {arm:18} {verdict:16} {found['difference']:+.3f} {interval}")


in_words(record)

# %% [markdown]
# Three limits belong to every number above. The intervals are over seeds of the fine-tuning, with one base model
# and these items; another base model or other items would add to them. The crowd is simulated, so "people" are a
# model of people. And the corpus is generated: how a model fares on it says little about English at large.

# %% [markdown]
# ## 6 Real sentences, real people
#
# The study `chaosnli` runs the same protocol on SNLI and on the 100 labels per item of ChaosNLI (Nie, Zhou &
# Bansal 2020). The scale are 300 items of the SNLI test set, calibrated on the answers of **90 model checkpoints**
# (Vania et al. 2021): a percentile here is among *models*, not people. MiniLM had seen SNLI pairs in its own
# contrastive pre-training.

# %%
chaos = json.loads(Path("../results/chaosnli.json").read_text())
print(casestudy.headline(chaos))
casestudy.summary(chaos)

# %%
plots.study(chaos)
plt.show()

# %%
in_words(chaos)

# %% [markdown]
# **What to see.** With real people the two teachers differ: compare the *distance to people* of CIFT-MSE with that
# of CIFT-CCE, and both with what they do to accuracy on the test set. The random control tells how much of a change
# is only more training.

# %% [markdown]
# ## Recap
#
# - A study is data; the protocol is the same for every study.
# - Held-out scales, a random control and paired seeds separate "the crowd taught it" from "it trained longer".
# - An ability on thirty items has a standard error of about half a standard deviation; means over scales and seeds
#   are needed to see a change.
# - Records carry everything that is needed to repeat them.

# %% [markdown]
# ## Exercises
#
# 1. Set `LIVE_SEEDS = 3` and another `LIVE_SCALE`. How far do the arms' abilities move from seed to seed? Compare
#    that with the standard error.
# 2. Write `in_words` for the difference between CIFT-MSE and CIFT-CCE, instead of the base model.
# 3. Which arm changes the *distance to people* most, and why could that happen without any change in accuracy?
# 4. Change one number in `study.recipe` with `dataclasses.replace` and run section 4 again. Why do the cells not come
#    from the ledger now, while the base model still comes from the cache?

# %% [markdown]
# ## Where next
#
# On the command line, `cift case-study --study chaosnli` repeats section 6 (an hour on 2 cores), `--study lalor2016`
# runs the published crowd where the SNLI zip is at hand, and `--model` takes any model of the Hugging Face hub.

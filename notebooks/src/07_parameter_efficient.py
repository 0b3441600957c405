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
# # 07 Parameter-efficient fine-tuning: change little, keep little
#
# **The question.** Full fine-tuning writes a new copy of the whole model for every task. How little of a model has to
# change, what does changing little save, and what does it cost?
#
# **After this notebook you can**
#
# - say what training keeps in memory, which parts of it parameter-efficient methods save, and which they do not;
# - write a bottleneck adapter, LoRA, (IA)³ and a prefix by hand, and recognise them in the packages that hold them;
# - keep several tasks on one backbone and switch between them;
# - merge LoRA into the weights, and choose its rank and its places;
# - choose a method, and a learning rate for it, from a comparison in which all of them had the same chances.
#
# **Time.** About 40 minutes to read; it runs in about 1 minute on 2 cores. **Needs:** the embedded data and weights,
# and a committed record; no network. **Makes:** nothing on disk.

# %% [markdown]
# ## Set-up
#
# What is trained here is small, with one seed: it shows *how* things work. Findings come from the record of a
# comparison (`cift compare`), at the end.

# %% tags=["parameters"]
PAIRS = 256  # sentence pairs of a task to learn from
TEST_PAIRS = 120  # and to test on
EPOCHS = 2
SEED = 0
RECORD = "../results/comparison.json"

# %%
import copy
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

from cift import adapters, anatomy, comparison_report, finetuning, losses, models, plots, plots_training, strategies
from cift.corpora import load_corpus
from cift.doctor import machine, versions
from cift.errors import InputError
from cift.recipe import Recipe

record = json.loads(Path(RECORD).read_text(encoding="utf-8"))
{name: versions()[name] for name in ("cift", "torch", "transformers", "peft")} | machine()

# %% [markdown]
# The backbone is MiniLM: word embeddings, then six layers, then a *head* that reads the first token (a matrix called
# the pooler, and a classifier of three labels). The head is new, so it learns in every method. `fresh` gives an
# untouched copy each time.

# %%
lesson = load_corpus("scenes", "train").shuffle(seed=SEED).select(range(PAIRS))
exam = load_corpus("scenes", "test").shuffle(seed=SEED).select(range(TEST_PAIRS))
labels = lesson.features["label"].names
base, tokenizer = models.load("minilm", labels, SEED)
rows, exam_rows = finetuning.encode(lesson, tokenizer), finetuning.encode(exam, tokenizer)
batch = finetuning.collate(rows[:32])


def fresh(strategy="full", **options):
    return strategies.prepare(copy.deepcopy(base), strategy, options, SEED)


def logits(model, on=exam_rows[:32]):
    return finetuning.logits(model, on, len(labels), bf16=False)


untouched = logits(base)
pd.Series({name: part.numel() for name, part in base.bert.encoder.layer[0].named_parameters()}).to_frame("parameters")

# %% [markdown]
# Above are the parameters of one layer. The four 384 × 384 matrices are its *attention*: queries, keys, values, and the
# output that leads back. `intermediate` and `output` are its *feed-forward* part, 384 → 1536 → 384. What each of the
# two gives is added to its input (+), and the sum is normalised:
#
# ```text
# tokens ─► embeddings ─► [ attention ─► + ─► norm ─► feed-forward ─► + ─► norm ] × 6 ─► head ─► label
# ```
#
# Each method of this notebook is a choice of places:
#
# | place | methods |
# |---|---|
# | among the embeddings | prompt tuning, P-tuning |
# | in the attention | prefix tuning, LoRA, (IA)³ |
# | after the attention, before the + | Houlsby's adapters |
# | in the feed-forward part | (IA)³, LoRA if wanted |
# | after the feed-forward part, before the + | Houlsby's and Pfeiffer's adapters |
# | everywhere | BitFit: the biases |
#
# ## 1 Why change little
#
# **On disk.** One backbone, many tasks: somebody wants twenty classifiers, each for another question. After full
# fine-tuning these are twenty models. If only a small part differs, keep the backbone once and twenty small parts.

# %%
whole, small = (strategies.size_on_disk(fresh(name)) / 2**20 for name in ("full", "lora"))
for tasks in (1, 20, 1000):
    print(f"{tasks:5} tasks: full {tasks * whole:8,.0f} MB   lora {whole + tasks * small:8,.0f} MB")

# %% [markdown]
# **In memory.** Training keeps four things:
#
# 1. the *weights*;
# 2. a *gradient* for each weight that learns;
# 3. the *optimizer's state*: Adam keeps two running means for each weight that learns (Kingma & Ba 2015);
# 4. the *activations*: what the forward pass has computed and the backward pass needs again.
#
# In single precision a number takes 4 bytes, so a weight that learns costs 4 + 4 + 8 = 16. With 16-bit weights it is 2
# + 2, and the optimizer then keeps a precise copy of the weight as well, 4 + 8: 16 again (Rajbhandari et al. 2020). A
# weight that does not learn costs 4 or 2, and nothing more. So the first three are arithmetic.
#
# The fourth is not, because activations do not belong to weights. To learn the lowest adapter, the error must travel
# down through all layers above it, frozen or not. PyTorch lets us watch what a forward pass keeps for the way back:


# %%
def kept_for_backward(model):
    """MB that the forward pass of the batch keeps, the weights themselves not counted."""
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = model.train()(**batch).logits
    assert found.requires_grad  # as long as it lives, so does what was kept, and no address is used twice
    return sum(kept.values()) / 2**20


names = ("full", "houlsby", "pfeiffer", "lora", "bitfit", "ia3", "prefix", "prompt", "frozen", "features")
kept = pd.Series({name: kept_for_backward(fresh(name)) for name in names}, name="activations, MB")
kept.to_frame().assign(share=kept / kept["full"]).round(2)

# %% [markdown]
# **Check.** For 32 pairs, 32-bit numbers. Adapters, LoRA and BitFit keep roughly two thirds of what full fine-tuning
# keeps, though they train about 3 % of its parameters at most. They save something, because a frozen matrix needs no
# gradient of its own, and so its input need not be kept. (IA)³ saves little, since a factor's gradient needs what it
# multiplies. Prompts keep *more*: their virtual words make every text longer. Only what stops the error early saves
# much: `frozen`, where it ends below the last two layers, and `features`, where it does not enter the encoder (notebook
# 06).
#
# Now both together, for MiniLM and for a language model of 7 billion parameters (32 layers, 4096 wide, 8 texts of 512
# tokens). Its activations are computed by the formula of Korthikanti et al. (2022), $sbh\,(34 + 5as/h)$ bytes a layer
# for $s$ tokens, $b$ texts, $h$ features and $a$ attention heads.


# %%
def memory(total, learning, activations, precision=4, frozen=None):
    """GB of weights, gradients, optimizer, activations. precision, frozen: bytes for a number; activations in GB."""
    weights = (frozen or precision) * (total - learning) + precision * learning
    return [*(np.array([weights, precision * learning, (16 - 2 * precision) * learning]) / 1e9), activations]


s, b, h, a, large = 512, 8, 4096, 32, 7e9
seen = 32 * s * b * h * (34 + 5 * a * s / h) / 1e9
lora_of_large = 32 * 2 * 2 * 8 * h  # rank 8 at queries and values: see section 4
bills = {
    "MiniLM": {name: memory(*strategies.count(fresh(name))[::-1], kept[name] / 1e3) for name in names[:-2]},
    "7 billion parameters": {
        "full": memory(large, large, seen, 2),
        "lora": memory(large, lora_of_large, seen, 2),
        "lora, frozen\nin 4 bits": memory(large, lora_of_large, seen, 2, frozen=0.5),
    },
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for ax, (title, rows_of) in zip(axes, bills.items(), strict=True):
    table = pd.DataFrame(rows_of, index=["weights", "gradients", "optimizer", "activations"]).T
    left = np.zeros(len(table))
    for k, part in enumerate(table):
        plots.clean_axes(ax).barh(
            table.index, table[part], left=left, label=part,
            color=plots.COLOURS[k + 1], hatch=("", "///", "...", "xx")[k], edgecolor="white",
        )  # fmt: skip
        left += table[part]
    ax.invert_yaxis()
    ax.set(xlabel="GB", title=title)
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** Gradients and optimizer vanish wherever little is trained; that is what parameter-efficient methods
# save. Left, with a small model, most of the rest is activations, of which adapters, LoRA and BitFit save a quarter to
# over a third. Right, the optimizer's 84 GB decide whether the model fits a machine at all: 141 GB for full
# fine-tuning, 43 GB for LoRA, of which 29 are activations (at most: the formula counts those of `full`; recomputing
# them in the backward pass, `gradient_checkpointing`, trades them for time). With the frozen weights in 4 bits (QLoRA,
# Dettmers et al. 2023) the weights shrink to a quarter.
#
# **Time** is saved in part: the forward pass is as long as before, and of the backward pass only the weights' own
# gradients are left out. In the record (section 7) that saves a third to under a half; prompt and P-tuning: a tenth.
#
# ## 2 Biases only: BitFit
#
# The smallest choice among what is there already: train the biases and the head, nothing else (Ben Zaken et al. 2022).
# By hand it is one line a parameter.

# %%
by_hand = copy.deepcopy(base)
for name, parameter in by_hand.named_parameters():
    parameter.requires_grad = name.endswith("bias") or name.startswith(("bert.pooler", "classifier"))


def learning(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


bitfit = fresh("bitfit")
assert learning(by_hand) == learning(bitfit)
head = strategies.count(fresh("features"))[0]
f"{strategies.count(bitfit)[0] - head:,} biases learn, and {head:,} parameters of the head"

# %% [markdown]
# **Check.** A bias moves the activations of all texts by the same amount, whatever the text. That this is enough for
# many tasks says something about pre-trained models: the features are there, and a task turns some of them up and
# others down. Note that the head is larger than all biases of the encoder; with so small a backbone this holds for
# several methods below. So we count the head apart.
#
# ## 3 Small modules in between: bottleneck adapters
#
# An adapter is a small network of its own between two frozen parts (Houlsby et al. 2019). It projects $d$ features down
# to $m$, applies a nonlinearity, projects up again, and *adds* the result to its input:
#
# $$x \;\mapsto\; x + U\,\mathrm{gelu}(D x + b) + c, \qquad D: m \times d, \quad U: d \times m.$$


# %%
class Adapter(nn.Module):
    def __init__(self, width, size):
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return x + self.up(nn.functional.gelu(self.down(x)))


x = torch.randn(5, 384)
assert torch.equal(Adapter(384, 64)(x), x)

# %% [markdown]
# $U$ and $c$ start at zero, so a new adapter changes nothing at all. That is essential: training starts at the function
# that the backbone has learnt, not at noise. (Houlsby et al. start near zero, which is nearly the same.)
#
# Where does it go? *Houlsby*: one after the attention and one after the feed-forward part of each layer, and the norms
# learn too. *Pfeiffer*: only the second one (Pfeiffer et al. 2021). We put ours into the places of the second kind, and
# compare with `cift.adapters`, given the same weights, no longer zero:

# %%
packaged, ours = fresh("pfeiffer"), copy.deepcopy(base)
assert np.array_equal(logits(packaged), untouched)
torch.manual_seed(SEED)
for theirs, layer in zip(packaged.bert.encoder.layer, ours.bert.encoder.layer, strict=True):
    nn.init.normal_(theirs.output.dense.adapter.up.weight, std=0.1)
    mine = Adapter(384, 64)
    mine.load_state_dict(theirs.output.dense.adapter.state_dict())
    layer.output.dense.register_forward_hook(lambda module, inputs, output, mine=mine: mine(output))
assert np.allclose(logits(ours), logits(packaged), atol=1e-5) and not np.allclose(logits(ours), untouched, atol=0.01)
print("cift.adapters computes what the ten lines above compute.")

# %% tags=["nbval-check-output"]
counted = {
    size: {kind: strategies.count(fresh(kind, size=size))[0] - head for kind in ("pfeiffer", "houlsby")}
    for size in (8, 64, 256)
}
assert all(counted[m]["pfeiffer"] == 6 * (2 * m * 384 + m + 384) for m in counted)
pd.DataFrame(counted).T.rename_axis("size m").map("{:,}".format)

# %% [markdown]
# **Check.** Each adapter has $2md + m + d$ parameters; Pfeiffer has six, Houlsby twelve and the norms. $m$ is the one
# setting: at $m$ = 64 the modules hold 1 to 3 % of the model.
#
# ### Two tasks on one backbone
#
# Since the backbone stays as it is, it can carry several adapters, each with a head of its own, one of them active. The
# first task here is inference, as ever. The second asks another question about such pairs: *what is at issue* in them,
# a quantifier (all, some, none), an "or", or a narrower word (an animal, a cat)? The corpus says so in `phenomenon`.

# %%
KINDS = ("quantifier", "disjunction", "hyponym")


def of_kinds(split, number):
    found = load_corpus("scenes", split).filter(lambda kind: kind in KINDS, input_columns="phenomenon")
    chosen = found.shuffle(seed=SEED).select(range(number))
    return finetuning.encode(chosen, tokenizer), np.array([KINDS.index(kind) for kind in chosen["phenomenon"]])


tasks = {
    "inference": ((rows, np.array(lesson["label"])), (exam_rows, np.array(exam["label"]))),
    "at issue": (of_kinds("train", PAIRS), of_kinds("test", TEST_PAIRS)),
}


def teach(model, task, strategy, learning_rate=None):
    """Train what is trainable in the model; without a learning rate, at the strategy's own."""
    recipe = Recipe(strategy=strategy, learning_rate=learning_rate, epochs=EPOCHS, batch_size=16)
    (texts, gold), _ = tasks[task]
    return finetuning.train(model, texts, losses.one_hot(gold, 3), recipe, SEED)


# %%
shared, answers = copy.deepcopy(base), {}
for task in tasks:
    adapters.add(shared, task, "pfeiffer", size=64, seed=SEED)
    teach(shared, task, "pfeiffer")
    answers[task] = logits(shared)

# %% [markdown]
# The second task was learnt after the first. In full fine-tuning that would have changed what the model knows of the
# first (notebook 09 measures it). Here nothing of the first was touched. `activate` brings its adapter and head back:

# %%
adapters.activate(shared, "inference")
assert np.array_equal(logits(shared), answers["inference"]), "bit by bit"
right = pd.DataFrame(index=tasks, columns=tasks, dtype=float)
for active in tasks:
    adapters.activate(shared, active)
    for task, (_, (texts, gold)) in tasks.items():
        right.loc[active, task] = (logits(shared, texts).argmax(1) == gold).mean()
right.rename_axis("active adapter").rename_axis("asked", axis=1).round(2)

# %% [markdown]
# **Check.** The logits are the same bits as before the second task was learnt. Only the bits show that: inference on
# these pairs is hard, with so few examples both adapters about guess (chance is a third), so their accuracy could not
# tell. What is at issue is learnt sooner, since single words give it away, but only by the adapter that was taught it.
# We go on with that task.
#
# Saved is only what was learnt, and it can be loaded onto any fresh copy of the backbone:

# %%
with tempfile.TemporaryDirectory() as folder:
    place = Path(folder) / "at-issue"
    strategies.save(shared, place)
    print({path.name: f"{path.stat().st_size / 2**20:.2f} MB" for path in sorted(place.iterdir())})
    again = copy.deepcopy(base)
    adapters.load(again, place, "at issue")
assert np.array_equal(logits(again), answers["at issue"])

# %% [markdown]
# ## 4 Small changes of the weights: LoRA
#
# How does full fine-tuning change a matrix? Let us look. We fine-tune the whole model, and take the difference
# $\Delta W$ between each matrix after and before. Its *singular values* say how much it does in each of its 384
# directions; its *rank* is the number of those that are not zero.

# %%
tuned = fresh()
teach(tuned, "at issue", "full", learning_rate=1e-4)
matrices = anatomy.matrices(base)["all"]
changes = {name: (tuned.get_submodule(name).weight - base.get_submodule(name).weight).detach() for name in matrices}
svd = {name: torch.linalg.svd(change, full_matrices=False) for name, change in changes.items()}


def of_rank(rank):
    """The fine-tuned model, where each matrix has kept only the largest directions of its change."""
    model = copy.deepcopy(tuned)
    for name, (u, size, v) in svd.items():
        kept = u[:, :rank] * size[:rank] @ v[:rank]
        model.get_submodule(name).weight.data = base.get_submodule(name).weight + kept
    return model


# %%
ranks = (0, 1, 2, 4, 8, 16, 64, 384)
wanted = logits(tuned)
far = np.array([np.abs(logits(of_rank(rank)) - wanted).mean() for rank in ranks])
energy = np.mean([[(size[:rank] ** 2).sum() / (size**2).sum() for rank in ranks] for _, size, _ in svd.values()], 0)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for k, name in enumerate(matrices[:: len(matrices) // 3]):
    size = svd[name][1]
    short = name.removeprefix("bert.encoder.").replace("attention.", "att. ")
    plots.clean_axes(axes[0]).plot(size / size[0], plots.LINES[k], color=plots.COLOURS[k], label=short)
of_w = torch.linalg.svdvals(base.get_submodule(matrices[0]).weight.detach())
axes[0].plot(of_w / of_w[0], color="#BBBBBB", linewidth=3, zorder=0, label="a weight matrix itself")
axes[0].set(xlabel="direction", ylabel="singular value / the largest", title="Changes by full fine-tuning")
axes[0].legend(frameon=False, fontsize=8)
plots.clean_axes(axes[1]).plot(range(len(ranks)), 1 - far / far[0], "o-", color=plots.COLOURS[2], label="of the logits")
axes[1].plot(range(len(ranks)), energy, "s--", color=plots.COLOURS[5], label="of ΔW (squares)")
axes[1].set(xlabel="rank that is kept of each ΔW", ylabel="share recovered", xticks=range(len(ranks)))
axes[1].set_xticklabels(ranks)
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** Left, the changes of three query matrices fall off faster than the weights themselves (grey), in the
# lowest layer least: a few directions hold much. Right, for all matrices, what is given back if each keeps only the
# largest directions of its change (at rank 0 only the other parameters are as fine-tuned: embeddings, biases, norms,
# head). One direction does not do, but 8 of 384 give back most of the change of the logits, and more than their share
# of $\Delta W$: the rest is small movement in many directions that hardly matters to the answers.
#
# So why not learn few directions to begin with? **LoRA** (Hu et al. 2022) freezes $W$ and learns a change of rank $r$,
#
# $$W' = W + \tfrac{\alpha}{r}\, B A, \qquad A: r \times d_\text{in}, \quad B: d_\text{out} \times r,$$
#
# with $A$ random and $B$ zero at the start. That is $r\,(d_\text{in} + d_\text{out})$ parameters instead of
# $d_\text{in} d_\text{out}$. Like an adapter, it starts by changing nothing; unlike one, it has no nonlinearity.

# %%
lora = fresh("lora", rank=8, alpha=16)
query = lora.get_base_model().bert.encoder.layer[0].attention.self.query  # PEFT's module in the place of a matrix
W, bias = query.base_layer.weight, query.base_layer.bias
A, B = query.lora_A["default"].weight, query.lora_B["default"].weight
assert not B.any() and np.allclose(logits(lora), untouched, atol=1e-5), "nothing is changed at the start"

nn.init.normal_(B)
by_hand = x @ W.T + bias + 16 / 8 * (x @ A.T) @ B.T
assert torch.allclose(by_hand, query(x), atol=1e-3)
print(f"A {tuple(A.shape)}, B {tuple(B.shape)}: {A.numel() + B.numel():,} parameters instead of {W.numel():,}")

# %% [markdown]
# **Check.** Two lines are all of LoRA; PEFT adds the bookkeeping (where, saving, merging, several at once). $B = 0$ has
# a consequence for the first step: the gradient of $A$ is $B^{\top}$ times something, hence zero, and only $B$ moves.

# %%
lora = fresh("lora")
nn.functional.cross_entropy(lora(**batch).logits, torch.tensor(lesson["label"][:32])).backward()
gradients = {name: p.grad for name, p in lora.named_parameters() if "lora_" in name}
assert all(gradient.any() == ("lora_B" in name) for name, gradient in gradients.items())

# %% [markdown]
# ### Rank, and where
#
# $r$ says how many directions each change may have, `targets` which matrices change. The paper took queries and values;
# later work found that more places matter more than more rank (Dettmers et al. 2023). `alpha` scales the change; held
# in proportion to the rank, it lets all ranks begin alike. Three choices, trained on the same pairs:

# %%
CHOICES = [(1, "queries values"), (64, "queries values"), (8, "all linear")]
texts, gold = tasks["at issue"][1]
found, loras = [], {}
for rank, targets in CHOICES:
    model = loras[rank, targets] = fresh("lora", rank=rank, alpha=2 * rank, targets=targets)
    trained = teach(model, "at issue", "lora")
    loss = nn.functional.cross_entropy(torch.from_numpy(logits(model, texts)), torch.tensor(gold)).item()
    found.append((rank, targets, strategies.count(model)[0] - head, trained["train_loss"], loss))
demo = pd.DataFrame(found, columns=["rank", "targets", "trainable, head apart", "training loss", "test loss"])
demo.round(2)

# %% [markdown]
# **Check.** Parameters grow in proportion to the rank. Rank 1 has come least far here; but this is one seed, few pairs
# and one learning rate for all, so it is no finding. (A loss of $\ln 3$ = 1.10 is guessing with equal shares.) In Hu et
# al. (2022) ranks between 1 and 64 did about equally well on the tasks tried; a higher rank helps when there is much to
# learn (Biderman et al. 2024).
#
# ### Merged
#
# $W + \tfrac{\alpha}{r} B A$ is a matrix of the shape of $W$. So after training the change can be added once and for
# all: a plain model that takes no longer than the original. Adapters cannot do that, because of their nonlinearity.

# %%
learnt = loras[8, "all linear"]
merged = strategies.merge(learnt)
assert np.allclose(logits(merged), logits(learnt), atol=1e-4)
assert not np.allclose(logits(merged), untouched, atol=1e-3)
print(f"{type(learnt).__name__} -> {type(merged).__name__}, {strategies.count(merged)[1]:,} parameters, as before")

# %% [markdown]
# The price: once merged, tasks can no longer be swapped by exchanging a small file, unless the change is subtracted
# again.
#
# ## 5 Factors: (IA)³
#
# Smaller still: learn one factor for each feature of the keys, the values and the inner activations of the feed-forward
# part, all 1 at the start (Liu et al. 2022: "infused adapter by inhibiting and amplifying inner activations").

# %%
ia3 = fresh("ia3")
layer = ia3.get_base_model().bert.encoder.layer[0]
key, out = layer.attention.self.key, layer.output.dense
factor, inner_factor = key.ia3_l["default"], out.ia3_l["default"]
assert np.allclose(logits(ia3), untouched, atol=1e-5) and (factor == 1).all() and (inner_factor == 1).all()

nn.init.normal_(factor, 1)
nn.init.normal_(inner_factor, 1)
inner = torch.randn(5, 1536)
assert torch.allclose(key(x), factor.T * (x @ key.base_layer.weight.T + key.base_layer.bias), atol=1e-4)
assert torch.allclose(out(inner), out.base_layer(inner_factor * inner), atol=1e-4)
f"{strategies.count(ia3)[0] - head:,} factors: 6 layers × (384 + 384 + 1536)"

# %% [markdown]
# **Check.** A factor scales a row or a column of the matrix beside it, so (IA)³ can be merged too. It is to
# multiplication what BitFit is to addition.
#
# ## 6 Words that nobody wrote: prefix, prompt, P-tuning
#
# The third family leaves the layers alone and gives the model something more to read.
#
# - **Prompt tuning** (Lester et al. 2021): $k$ *virtual tokens* before the text. They are no words; their embeddings
#   are learnt directly.
# - **P-tuning** (Liu et al. 2021): the same, but a small network makes these embeddings, which was meant to ease
#   training. After training it is no longer needed.
# - **Prefix tuning** (Li & Liang 2021): virtual *keys and values* in every layer, that all tokens can attend to.
#
# What does a prefix do? One attention head by hand: softmax weights over the keys, then the mean of the values.

# %%
torch.manual_seed(SEED)
q, K, V = torch.randn(4, 32), torch.randn(9, 32), torch.randn(9, 32)  # 4 tokens ask, 9 are there to attend to
P_k, P_v = torch.randn(3, 32), torch.randn(3, 32)  # a prefix of 3


def attend(q, keys, values):
    return torch.softmax(q @ keys.T / 32**0.5, 1) @ values


with_prefix = attend(q, torch.cat([P_k, K]), torch.cat([P_v, V]))
share = torch.softmax(q @ torch.cat([P_k, K]).T / 32**0.5, 1)[:, :3].sum(1, keepdim=True)
mixture = (1 - share) * attend(q, K, V) + share * attend(q, P_k, P_v)
assert torch.allclose(with_prefix, mixture, atol=1e-6)
share.squeeze().numpy().round(2)

# %% [markdown]
# **Check.** A prefix mixes the old output with something learnt, token by token, in the shares printed above: an
# adapter in disguise (He et al. 2022). Note what it cannot do: within the same layer, change how the text's own words
# attend to each other relative to one another. And it does not start at nothing: random virtual words disturb the model
# until they are learnt.

# %% tags=["nbval-check-output"]
virtual = {name: fresh(name, tokens=20) for name in ("prefix", "prompt", "p-tuning")}
shapes = {
    name: {
        "learns, head apart": strategies.count(model)[0] - head,
        "saved, head apart": strategies.size_on_disk(model) // 4 - head,
        "tokens left for the text": strategies.longest(model),
    }
    for name, model in virtual.items()
}
assert shapes["prefix"]["saved, head apart"] == 20 * 6 * 2 * 384 and shapes["prompt"]["saved, head apart"] == 20 * 384
pd.DataFrame(shapes).T.map("{:,}".format)

# %% [markdown]
# **Check.** 20 virtual words are 20 × 384 numbers; a prefix has keys and values in six layers. P-tuning learns more
# than it saves. Virtual words take the places of real ones (512 without them), and make each step slower.
#
# Two limits. MiniLM's head reads the *first* token; with prompt and P-tuning that is now a virtual one, which has to
# learn to gather what `[CLS]` gathered before. And a backbone must let keys and values in from outside. Some encoders
# do not; `strategies.prepare` tries before anything is trained:

# %% tags=["nbval-check-output"]
from transformers import DistilBertConfig, DistilBertForSequenceClassification

tiny = DistilBertConfig(vocab_size=1000, dim=48, hidden_dim=96, n_layers=2, n_heads=4, num_labels=3)
try:
    strategies.prepare(DistilBertForSequenceClassification(tiny), "prefix")
except InputError as error:
    print(error)

# %% [markdown]
# ## 7 All of them, side by side
#
# What each strategy trains and keeps is counted here, on MiniLM with three labels. Seconds (for going through 1,000
# pairs once) and memory are from the record, since they belong to a machine.

# %%
counted = {}
for name in strategies.STRATEGIES:
    prepared = fresh(name)
    trainable, total = strategies.count(prepared)
    share, size = 100 * trainable / total, strategies.size_on_disk(prepared) / 2**20
    counted[name] = f"{trainable:,}", f"{trainable - head:,}", round(share, 1), round(size, 2)
table = pd.DataFrame.from_dict(counted, "index", columns=["trainable", "head apart", "share, %", "on disk, MB"])
measured = pd.DataFrame(record["cost"]).query("model == 'minilm'").set_index("strategy")
table["s / 1,000 pairs"] = measured["seconds_per_1000"]
table["training, MB more"] = measured["memory_mb"] - measured["loaded_mb"]
table.round({"s / 1,000 pairs": 1, "training, MB more": 0})

# %% [markdown]
# **Check.** `frozen`, `gradual` and `discriminative` are of notebook 06; they train the encoder's own weights and keep
# all of it. Everything else keeps less than 3 MB of 87, and a good part of that is the head. Fewer parameters are not
# less time: compare the last columns with the first. Of what sends the error through the whole encoder, the fastest
# (BitFit, Pfeiffer) needs little more than half the time of `full`, the slowest (P-tuning) nearly as much. Training
# takes 360 to 500 MB beyond the loaded model, against 680 for `full`.
#
# ## 8 Each with a learning rate of its own
#
# Full fine-tuning of such a model wants a learning rate near $10^{-4}$, LoRA $2 \cdot 10^{-3}$, prompts more. Why?
# Adam's first step moves *every* trained number by the learning rate, up or down, however small its gradient: the ratio
# of its two running means is then ±1. Twenty million numbers that all move a little in the right direction move the
# answers a lot; a few thousand have to move further. We take this one step, from the same start, leaving the head as it
# is, and see how far the logits move.


# %%
def moved(strategy, step_sizes):
    model = fresh(strategy).eval()
    few = {name: values[:8] for name, values in batch.items()}
    before = model(**few).logits
    nn.functional.cross_entropy(before, torch.tensor(lesson["label"][:8])).backward()
    steps = [(p, p.detach().clone(), p.grad.sign()) for name, p in model.named_parameters()
             if p.grad is not None and not any(part in name for part in ("pooler", "classifier"))]  # fmt: skip
    far = []
    with torch.no_grad():
        for eta in step_sizes:
            for parameter, start, sign in steps:
                parameter.copy_(start - eta * sign)
            far.append((model(**few).logits - before).abs().mean().item())
    return far


step_sizes = np.logspace(-6, -1, 6)
moves = {name: moved(name, step_sizes) for name in ("full", "pfeiffer", "bitfit", "lora", "ia3", "prompt")}
ax = plots.clean_axes(size=(6.8, 4))
for k, (name, far) in enumerate(moves.items()):
    style = {"color": plots.COLOURS[k], "marker": plots.MARKERS[k], "linestyle": plots.LINES[k % 4]}
    ax.plot(step_sizes, far, label=name, **style)
ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="mean change of the logits", title="One step of Adam")
ax.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
plt.show()
pd.Series({name: strategies.STRATEGIES[name].learning_rate for name in moves}, name="cift's default").to_frame().T

# %% [markdown]
# **What to see.** Follow a horizontal line: to move the answers as far as full fine-tuning does, another method needs a
# rate that is fifty to a thousand times higher. On the right the curves bend: there the steps are too long for the
# model's function to follow its slope. The defaults go in about the same order, but for `prompt`: one step moves it as
# far as BitFit, yet its default is fifteen times higher. A first step does not tell how far there is to go.
#
# So a comparison at *one* learning rate is a comparison of learning rates. In the record each strategy was tried with a
# third of its default, the default, and three times it, on validation pairs and with a seed that is not used again:

# %%
search = pd.DataFrame(record["search"]).query("model == 'minilm'")
search = search[search["size"] == search["size"].max()].sort_values("learning_rate")
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, sharex=True, layout="constrained")
for ax, (title, family) in zip(axes, plots_training.FAMILIES.items(), strict=True):
    for k, name in enumerate(("full", *family)):
        tried = search[search["strategy"] == name]
        colour = "#999999" if name == "full" else plots.COLOURS[k]
        plots.clean_axes(ax).plot(
            tried["learning_rate"], tried["accuracy"], plots.MARKERS[k] + plots.LINES[k % 4], color=colour, label=name
        )
    ax.set(xscale="log", xlabel="learning rate")
    ax.set_title(title, fontsize=10, loc="left")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=3)
axes[0].set_ylabel(f"validation accuracy, {record['comparison']}")
plt.show()

# %% [markdown]
# **What to see.** For nine strategies the middle rate is best, and these hills stand at different rates. Three times
# the best rate throws `full`, LoRA and the Houlsby adapters back to chance at 2,048 pairs: the model collapses to one
# answer. A third of it costs .03 to .10. `features`, BitFit and (IA)³ are best at the highest rate tried, `prompt` at
# the lowest: for them the search was too narrow. Prefix, prompt and P-tuning stay below .48 at every rate.
#
# **Check.** The three rates are the same *effort* for everyone, not the same chance for everyone: where the edge is
# best, a wider search might do better. The headline below counts these cases, at 512 and at 2,048 pairs.
#
# ## 9 What the comparison found
#
# `cift compare` trains every strategy on the same pairs, for the same number of steps, with the same seeds and search:
# 96 steps on 32, 128 and 512 pairs, at the rate that was best with 512, and 256 steps on 2,048, at a rate of their own.
# Intervals are 95 %, over seeds: they cover the choice of training pairs, the head's start and the order, for these
# test pairs. One caution: this MiniLM was trained (contrastively: like sentences near each other, unlike ones apart) on
# data that include pairs of SNLI and MultiNLI. Where such pairs are learnt here, all strategies start with an advantage
# that an ordinary encoder would not have, and perhaps not all with the same one.

# %%
print(comparison_report.headline(record))
plots_training.accuracy_by_size(record)
plt.show()

# %% [markdown]
# **What to see.** Each panel has one family; in grey, for comparison, full fine-tuning, and a classifier that reads
# only the hypotheses (dashed). At 32 pairs everything is near chance (.344, the commonest label). Adapters and LoRA are
# above the dashed line from 512 pairs on by about .04 or more, and beside `full` at every size. The long bar of `full`
# at 512 is one seed that did not get off the ground, likely because of its rate, 3e-4, the highest tried. Prefix,
# prompt and P-tuning are below the dashed line from 128 pairs on: they have read less in the pairs than a classifier
# that does not look at the premise. So are BitFit and (IA)³; at 2,048 pairs the rates that the search chose for them
# made one seed and two collapse, hence the huge intervals. One seed of P-tuning is at chance there too.
#
# (The seconds printed above are those of a resumed run. All trainings in the record, the search included, add up to
# about 7,350 seconds.)
#
# Since strategies share training pairs within a seed, their *differences* are known better than their levels:

# %%
sizes = [f"{size} pairs" for size in record["run"]["sizes"]]
summary = comparison_report.summary(record)
summary.loc[summary.index.str.endswith("less full"), sizes]

# %% [markdown]
# **Check.** An interval that holds 0 is no proof of equality; look at how wide it is. At 32 pairs no difference
# excludes 0, at 2,048 those of `features`, `frozen`, the three prompt methods and (IA)³ do, all of them below `full`.
# No strategy is better than `full` at any size by an interval that excludes 0.

# %%
plots_training.accuracy_by_parameters(record, max(record["run"]["sizes"]))
plt.show()

# %% [markdown]
# **What to see.** From left to right the number of trained parameters grows a hundredfold and more. Accuracy does not
# grow with it: LoRA, prefix and P-tuning train 220,000 to 270,000 numbers each (more than half of them the head's
# 148,995), and prefix and P-tuning lie .20 and .28 below LoRA, while Houlsby's 750,000 are level with all 22.7 million.
# *Where* the change is made matters more than how large it is.

# %%
plots_training.cost(record)
plt.show()

# %% [markdown]
# **What to see.** Seconds, for going through 1,000 pairs once: 8.7 for `full`, 4.8 to 5.5 for the methods of this
# notebook, which saves 37 to 45 %, but for prompt and P-tuning (7.7 and 7.9), which make every sequence longer; .9 for
# `features`, which runs the encoder once. Memory: with these methods 180 to 330 MB below `full`. The gradients and the
# optimizer's two numbers of 22.7 million weights are 12 bytes a weight, 270 MB, so that is most of it; a part of the
# activations goes too (section 1). Disk: as counted in section 7.
#
# ## 10 Which, when
#
# | you have | take | because |
# |---|---|---|
# | one task, pairs, memory | full, or its kin of notebook 06 | nothing is held back |
# | a model that barely fits | LoRA, over 4-bit weights if need be | little but weights is kept (Dettmers et al. 2023) |
# | no time to lose when it is used | LoRA, merged | as fast as the backbone alone (Hu et al. 2022) |
# | many tasks, one backbone | pfeiffer or LoRA | few MB a task, swapped in place (Pfeiffer et al. 2021) |
# | very few pairs | bitfit, (IA)³ beside full, several seeds | made for it (Ben Zaken et al. 2022; Liu et al. 2022) |
# | no time to train | features, cached | the encoder runs once |
# | billions of frozen weights | prompt | nears full only at that size (Lester et al. 2021) |
# | much that is new to learn | full, or LoRA of high rank | low rank learns less, forgets less (Biderman et al. 2024) |
#
# What our record has to say to that, at 2,048 pairs: `full` .67, Pfeiffer and LoRA within .03 of it with 1 to 2 % of
# the parameters. BitFit and (IA)³ are *not* ahead with few pairs: at 32 nobody is, at 128 their means are .04
# behind. Features cost .23 of accuracy; prefix, prompt and P-tuning .22 to .30, on a model this small.
#
# What the record does not say: it is one small encoder, one kind of task, and up to a few thousand pairs. In larger
# models prompts catch up (Lester et al. 2021); with larger and harder tasks the small methods fall behind (He et al.
# 2022).

# %% [markdown]
# ## Recap
#
# - A weight that learns costs 16 bytes, a frozen one 2 or 4. Parameter-efficient methods save gradients, optimizer
#   state and disk. Adapters, LoRA and BitFit save a quarter to over a third of the activations too. The time falls by a
#   third to under a half, with prompt and P-tuning by a tenth.
# - Three families: change what is there (BitFit, LoRA, (IA)³), put something in between (adapters), give more to read
#   (prompt, P-tuning, prefix). Each is a few lines.
# - Adapters, LoRA and (IA)³ start at the backbone's own function. LoRA and (IA)³ can be merged; adapters can be
#   swapped, and switching back gives the same bits.
# - Compare methods only when each has had the same search for a learning rate.

# %% [markdown]
# ## Exercises
#
# 1. Set `size=4` for the adapter of the second task. Does it still learn? How small may it be?
# 2. Remove the two `zeros_` from `Adapter`, put it into `ours`, and look at the logits before any training. Do the same
#    with a standard deviation of 0.001.
# 3. Write `merge` for one LoRA matrix by hand, and for (IA)³'s keys.
# 4. Run `kept_for_backward` on texts of 128 tokens. It reads `batch`, which is the first 32 of `rows`, padded to the
#    longest. Put four copies of each text in a row, cut to 128 tokens:
#    `batch = {k: v.repeat(1, 4)[:, :128] for k, v in batch.items()}`. Which shares grow, which falls, and why?
# 5. Do section 4's picture for `tuned` with ten times the learning rate, or with twice the epochs. Is the change still
#    carried by few directions?
# 6. `strategies.prepare` refuses other combinations too. Predict what it says about `lora` on `models.load("nse", ...)`
#    and try.

# %% [markdown]
# ## Where next
#
# `06_full_frozen_gradual` has the strategies that train the encoder's own weights, and `09_optimise_and_regularise`
# what all of them share: optimizers, schedules, overfitting, forgetting. `12_rte_case_study` fine-tunes on what crowds
# say. On the command line, `cift fine-tune --strategy lora` trains one, and `cift compare` all of them on your own
# data.

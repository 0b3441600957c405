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
# # 02 Prepare data: from a messy file to a corpus that can be trusted
#
# **The question.** Someone sends you a file of labelled sentence pairs. What has to happen before a model may learn
# from it, how well do the tools for it work, and what do they miss?
#
# **After this notebook you can**
#
# - load a file with other people's column names and labels, and get one message about what is wrong;
# - repair broken text, and say what a tokenizer makes of the rest, and what that costs;
# - find duplicates, leaks between splits, gibberish, strange sentences and doubtful labels, and say how much of each a
#   detector finds;
# - split without leaks, balance labels, augment, and test whether the labels survive;
# - measure shortcuts and other bias, re-weight, and write a data card.
#
# **Time.** About 45 minutes to read; it runs in 2 to 3 minutes on a laptop with 2 cores. **Needs:** the embedded data
# and weights, no network. **Makes:** nothing that stays on disk.

# %% [markdown]
# ## Set-up
#
# How good is a detector of errors? On real data nobody knows, since nobody knows the errors. So we make the messy file
# ourselves, out of `scenes` (a corpus that a grammar generates), **plant** errors, and keep a list of where they are.

# %% tags=["parameters"]
PAIRS = 1500  # sentence pairs in the file, before copies are added; a multiple of 3
TEACHER_PAIRS = 4000  # other pairs, from which a model learns that checks labels in section 5
AUGMENTED = 240  # pairs that are augmented in section 7
TESTED = 1000  # pairs of the test set that the teacher answers in section 8
SEED = 0

# %%
import json
import shutil
import tempfile
import textwrap
import unicodedata
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from cift import (
    augmentation,
    bias,
    cards,
    cleaning,
    corpora,
    counterfactual,
    duplicates,
    files,
    finetuning,
    losses,
    models,
    plots,
    privacy,
    splits,
    suspects,
    tokenization,
)
from cift.errors import InputError
from cift.evaluation import proportion

pd.set_option("display.max_colwidth", 70)
rng = np.random.default_rng(SEED)
scenes = corpora.load_corpus("scenes", "train")
names = scenes.features["label"].names
scenes[0]

# %% [markdown]
# In `scenes` each **hypothesis** stands once under each label, with three premises that make it true, open and false.
# We take whole triples, and name the columns as SNLI does (Bowman et al. 2015). The sender has also named a worker for
# each pair, and cut the file into a training and a test set, pair by pair.

# %%
table = scenes.to_pandas()
inside = table["hypothesis"].isin(table["hypothesis"].unique()[: PAIRS // 3])
rest = scenes.select(np.flatnonzero(~inside))
sound = pd.DataFrame(
    {
        "pairID": [f"p{number:04}" for number in range(PAIRS)],
        "sentence1": table.loc[inside, "premise"].to_numpy(),
        "sentence2": table.loc[inside, "hypothesis"].to_numpy(),
        "gold_label": table.loc[inside, "label"].map(dict(enumerate(names))).to_numpy(),
        "set": rng.choice(["train", "test"], PAIRS, p=[0.8, 0.2]),
        "worker": rng.choice(["A" + "".join(rng.choice(list("BCDEFG2345678"), 13)) for _ in range(20)], PAIRS),
        "comment": "",
    }
).set_index("pairID")
unit = PAIRS // 100
sizes = {"spelling": unit, "missing": unit, "writing": 3 * unit, "gibberish": unit, "foreign": 12, "long": unit}
sizes |= {"flipped": 6 * unit, "personal": 3, "copy": 2 * unit, "near copy": 2 * unit, "conflict": unit}
ends = np.cumsum(list(sizes.values()))
planted = dict(zip(sizes, np.split(rng.permutation(sound.index)[: ends[-1]], ends[:-1]), strict=True))
pd.DataFrame(sizes, index=["planted"])

# %% [markdown]
# These are the errors that we plant, one at most in each item, so that we can tell what was found. `writing` is broken
# text, `foreign` are sentences from elsewhere, `long` is four premises in one, and `flipped` a wrong label, in 6 % of
# the pairs. Copies, near copies and conflicts (a copy with another label) are added as new rows. How each is made is in
# the next two cells, which need not be read.

# %%
FOREIGN = """The tenant shall pay the rent on the first day of each month.|Payment is due before the fifth of the month.
Whisk the eggs with the sugar until the mixture is pale.|The eggs are beaten together with sugar.
The central bank raised interest rates by a quarter point.|Borrowing has become more expensive.
Photosynthesis converts carbon dioxide and water into glucose.|Glucose is a product of photosynthesis.
The patient was given 40 mg of the drug twice a day.|The daily dose was 80 mg.
Click on Save before you close the settings window.|Settings are saved automatically.
The treaty was signed in 1648 and ended thirty years of war.|The war lasted for three decades.
Let f be a continuous function on a closed interval.|The function attains its maximum.
The midfielder was booked for a late tackle.|The referee showed a card.
This warranty does not cover damage caused by misuse.|Misuse voids the warranty.
Voter turnout fell below forty percent in the runoff.|Most voters stayed at home.
The train to Leeds is delayed by twenty minutes.|There are no trains to Leeds today."""


def mash(text):
    return " ".join("".join(rng.choice(list("asdfjklqwertzxm"), len(word))) for word in text.split())


def broken(text, way):
    """Read in the wrong encoding; with odd spaces and ligatures; with spaces and a line end too many."""
    ways = [
        text.encode().decode("cp1252"),
        text.replace(" ", "\u00a0\u200b", 1).replace("fi", "ﬁ"),
        text.replace(" ", "   ", 2) + "\n",
    ]
    return ways[way]


def another_label(labels):
    return [rng.choice([name for name in names if name != label]) for label in labels]


# %%
quoted = planted["writing"][::3]
sound.loc[quoted, "sentence1"] = "‘" + sound.loc[quoted, "sentence1"] + "’"
messy = sound.copy()
for k, item in enumerate(planted["spelling"]):
    label = sound.loc[item, "gold_label"]
    messy.loc[item, "gold_label"] = ("-", label.title(), label[:4])[k % 3]
for k, item in enumerate(planted["missing"]):
    messy.loc[item, ("sentence1", "sentence2", "gold_label")[k % 3]] = ("", "n/a", " ")[k % 3]
for k, item in enumerate(planted["writing"]):
    messy.loc[item, "sentence1"] = broken(sound.loc[item, "sentence1"], k % 3)
for item, line in zip(planted["foreign"], FOREIGN.splitlines(), strict=True):
    messy.loc[item, ["sentence1", "sentence2"]] = line.split("|")
for item in planted["long"]:
    messy.loc[item, "sentence1"] = " ".join(sound["sentence1"].sample(4, random_state=rng))
messy.loc[planted["gibberish"], "sentence2"] = sound.loc[planted["gibberish"], "sentence2"].map(mash)
messy.loc[planted["personal"], "comment"] = ["ask jo.sample@example.org", "call +1 212 555 0187", "paid to @jo_sample"]

messy.loc[planted["flipped"], "gold_label"] = another_label(sound.loc[planted["flipped"], "gold_label"])
twins = {kind: sound.loc[planted[kind]].copy() for kind in ("copy", "near copy", "conflict")}
twins["copy"]["sentence1"] = twins["copy"]["sentence1"].str.upper()
one = twins["near copy"]["sentence1"].str.replace(" a ", " one ", n=1)
twins["near copy"]["sentence1"] = one.str.rstrip(".") + "!"
twins["conflict"]["gold_label"] = another_label(twins["conflict"]["gold_label"])
added = {kind: [f"{item}-{kind.split()[0]}" for item in twin.index] for kind, twin in twins.items()}
extra = pd.concat([twin.set_axis(added[kind], axis=0) for kind, twin in twins.items()])
extra["set"] = rng.choice(["train", "test"], len(extra), p=[0.8, 0.2])

folder = Path(tempfile.mkdtemp())
pd.concat([messy, extra]).rename_axis("pairID").to_csv(folder / "from_a_colleague.csv")

# %% [markdown]
# ## 1 Load and validate
#
# A **corpus** here is a table with the columns `item_id`, `premise`, `hypothesis` and `label`. `load_corpus` reads CSV,
# TSV, JSONL and Parquet and is told what the file calls these columns. It checks every cell, and refuses the file with
# one message that lists the first twenty problems, counts the rest, and names up to eight unknown spellings of labels,
# rather than one thing per run.
#
# Besides, look at the raw file. `read_table` takes all cells as text, so that nothing is guessed ("n/a" stays "n/a",
# the id "007" keeps its zeros), and `missing` counts empty cells and what stands in for them.


# %%
def shown(message):
    print(textwrap.fill(str(message).replace(f"{folder}/", ""), 118))


columns = {"item_id": "pairID", "premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}
try:
    corpora.load_corpus(folder / "from_a_colleague.csv", columns=columns)
except InputError as error:
    shown(error)

raw = files.read_table(folder / "from_a_colleague.csv")
cleaning.missing(raw).drop(columns="share")

# %% [markdown]
# The message ends with what to do. Spellings are a matter for the argument `labels`; "-" is how SNLI marks pairs on
# whose label its annotators did not agree, and None leaves them out, which a warning counts. Of the `disguised` cells
# in the table the message says nothing: "n/a" is text. But a model would learn that "n/a" is a hypothesis. (`rows` are
# lines of the file.)
#
# Missing values need a decision; here we leave those pairs out. The sender's file stays as it is; what we change goes
# into a new one, without the comments, and with numbers in place of the workers' ids (section 9 says why).

# %%
needed = raw[["sentence1", "sentence2", "gold_label"]].apply(lambda column: column.str.strip())
whole = raw[~needed.isin(["", "n/a"]).any(axis=1)]
whole = whole.assign(worker=privacy.pseudonymise(whole["worker"])).drop(columns="comment")
whole.to_csv(folder / "complete.csv", index=False)

spellings = {spelling: name for name in names for spelling in (name.title(), name[:4])}
with warnings.catch_warnings(record=True) as warned:
    corpus = corpora.load_corpus(folder / "complete.csv", columns=columns, labels=spellings | {"-": None})
shown(warned[0].message)

left_out = set(raw["pairID"]) - set(corpus["item_id"])
assert left_out == set(planted["missing"]) | set(planted["spelling"][::3])
labels = pd.Series([names[code] for code in corpus["label"]], index=corpus["item_id"])
respelled = [item for item in planted["spelling"] if item not in left_out]
assert (labels[respelled] == sound.loc[respelled, "gold_label"]).all()
print(f"{len(raw)} rows in the file, {len(left_out)} left out, {len(corpus)} pairs in the corpus.")

# %% [markdown]
# **Check.** The assertions hold: the missing values are gone, nothing else is, and every spelling became the right
# label.
#
# A folder that `datasets` saved, or with one file a split, loads as `load_corpus("folder", "train")`, a data set on the
# Hugging Face hub as `load_corpus("org/name", "train")`, public sets that this project knows as `load_corpus("snli",
# "train")` (and `sick`, `rte`, `snow2008`, ...). The latter are downloaded once and checked against a hash;
# `fetch.available("snli/snli_1.0.zip")` says whether a file is here already.
#
# ## 2 Clean
#
# Cleaning repairs what was broken on the way and keeps what somebody meant. **Mojibake** is text that was written in
# one encoding and read in another ("isnâ€™t"). **Unicode** can spell the same letter in several ways, and has
# characters that nobody sees; for a tokenizer they are all different. Here is the idea in three steps of the standard
# library:

# %%
text = "The cafe\u0301 isnâ€™t\u00a0  open\u200b yet."
text = text.replace("â€™", "â€™".encode("cp1252").decode())  # written as UTF-8, read as cp1252: undo it
text = unicodedata.normalize("NFC", text).replace("\u200b", "")  # e and its accent one letter; nothing invisible
by_hand = " ".join(text.split())
assert by_hand == cleaning.clean_text("The cafe\u0301 isnâ€™t\u00a0  open\u200b yet.")
by_hand

# %% [markdown]
# `clean_text` does this for any text, and leaves the search for mojibake to the library ftfy. `clean` treats a corpus
# and reports how many sentences each rule changed, with the shortest of them. We demand three things: every broken
# premise is again what it was; no other sentence has changed; and cleaning twice is cleaning once (it is *idempotent*),
# so that nobody has to know whether a file has been cleaned already.

# %%
cleaned, report = cleaning.clean(corpus)
was, now = (pd.Series(each["premise"], index=each["item_id"]) for each in (corpus, cleaned))
assert (now[planted["writing"]] == sound.loc[planted["writing"], "sentence1"]).all()
assert set(now.index[now != was]) == set(planted["writing"])
assert cleaning.clean(cleaned)[1][["premise", "hypothesis"]].to_numpy().sum() == 0
report

# %% [markdown]
# ## 3 Look at the tokens
#
# A model does not see words but **tokens**, pieces out of a fixed vocabulary. A word that the vocabulary lacks is cut
# into several pieces, so it costs more time and says less.

# %%
model, tokenizer = models.load("minilm", seed=SEED)
tokenization.most_split(cleaned, tokenizer, n=4)

# %% [markdown]
# The words that fall into most pieces are the planted gibberish. That is no accident: a tokenizer's vocabulary is a
# list of what is usual. Now the lengths, which decide time and memory.

# %%
lengths = tokenization.token_lengths(cleaned, tokenizer)
costs = tokenization.padding_cost(lengths, batch_size=32, max_length=128, seed=SEED).drop("none")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
plots.clean_axes(left).hist(lengths["tokens"], bins=40, color=plots.COLOURS[2])
left.set(xlabel="tokens of a pair", ylabel="pairs", yscale="log")
plots.clean_axes(right).barh(costs.index, costs["cost"], color="#BBBBBB", edgecolor="black")
right.axvline(1, color="black", linewidth=1)
right.set(xlabel="tokens to process, relative to no padding")
right.invert_yaxis()
plt.show()
tokenization.truncation(lengths, [16, 32, 64, 128]).round(3)

# %% [markdown]
# **What to see.** Left (the vertical axis is logarithmic), most pairs have 20 to 40 tokens; the tail on the right are
# the planted long premises. Right: all sequences of a batch must be equally long, so the shorter ones are filled up
# with padding, which costs time and teaches nothing. `max_length` pads to 128, which means more than four times the
# work; **bucketed** batches hold pairs of similar length, which nearly avoids it. The table says what a maximum length
# would cut off, unread: nothing at 128, and something of nearly every fifth pair at 32.
#
# ### Lower case is a choice
#
# To lower-case is to throw something away ("US" and "us"), so `clean` does it only if asked (`lower=True`). It is of no
# use for an **uncased** tokenizer, which does it anyway, and for a **cased** one it depends on what its vocabulary is
# made of. We let one be trained on this corpus:

# %%
cased = tokenization.train_wordpiece(cleaned, vocab_size=2000)
effect = {
    "MiniLM's, uncased": tokenization.case_effect(cleaned, tokenizer),
    "trained here, cased": tokenization.case_effect(cleaned, cased),
}
pd.concat(effect).round(3)

# %% [markdown]
# **Check.** `tokens` is the mean number per pair, `pairs_changed` the share of pairs whose token ids differ from those
# as written. For the uncased tokenizer nothing changes, in no pair. For the cased one the ids of all pairs change,
# since every sentence begins with a capital. A pre-trained model that knows "The" has to be fed with "The": what
# matters is not the case but that training and use are alike. `load_corpus` and `clean` leave the case alone.
#
# ## 4 Duplicates and leaks
#
# A pair that stands in the training and in the test set is a **leak**: a model that remembers it looks as if it
# understood it. Copies are rarely exact, so we need a measure of similarity. The **Jaccard index** of two texts is the
# number of character trigrams that both have, over the number that either has:


# %%
def trigrams(text):
    return {text[i : i + 3] for i in range(len(text) - 2)}


def jaccard(one, other):
    return len(trigrams(one) & trigrams(other)) / len(trigrams(one) | trigrams(other))


item = planted["near copy"][0]
original, changed = (now[name].casefold() for name in (item, f"{item}-near"))
print(original, changed, f"similarity {jaccard(original, changed):.2f}", sep="\n")

# %% [markdown]
# Comparing all pairs of items takes a time that grows with the square of their number: a million items would take days.
# **MinHash** (Broder 1997) makes a short signature of each text such that similar texts share parts of it with high
# probability; only those are compared. `near_duplicates` asks for both sentences to be similar. What it finds is one of
# four kinds, because in NLI likeness alone is no error: if the label differs, it is a *contrast*, which shows what the
# small difference means, or, with the same words, a *conflict*.

# %%
twins = duplicates.near_duplicates(cleaned, threshold=0.7, seed=SEED)
contrast = twins[twins["kind"] == "contrast"].iloc[0]
print("A contrast:", now[contrast["item_id"]], now[contrast["other_id"]], sep="\n")
rows = {}
for kind, items in added.items():
    found = suspects.precision_recall(twins.loc[twins["kind"] == kind, "other_id"], items, len(cleaned))
    rows[kind] = {
        f"{measure}: {name}": found.loc[measure, name] for measure in found.index for name in ("of", "share", "low")
    }
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# **Check.** **Precision** is the share of what was found that was planted, **recall** the share of what was planted
# that was found; `of` is what each is a share of, `low` the lower end of its 95 % interval (a perfect score on a few
# dozen items still leaves room for less). Copies and conflicts are all found, near copies nearly all. Some near copies
# are not ours: the grammar says similar things twice, or a flipped label has made two of its contrasts agree. The
# contrasts stay. They are made on purpose, and a corpus without minimal pairs would be easier, not better.
#
# Now the sender's two sets. From the whole file we drop the later one of copies and near copies, and *both* sides of a
# conflict, since one of its labels is wrong and we do not know which.

# %%
whose = np.array(cleaned["set"])
sets = {name: cleaned.select(np.flatnonzero(whose == name)) for name in ("train", "test")}
again = twins[twins["kind"].isin(["copy", "near copy"])]["other_id"]
torn = twins[twins["kind"] == "conflict"]
single = corpora.without(cleaned, {*again, *torn["item_id"], *torn["other_id"]})
print(f"{len(cleaned)} pairs, {len(single)} without twins. The sender's test set has {len(sets['test'])}.")
print("Leaks, in items of the later set:")
duplicates.leakage(sets, seed=SEED)["items"]

# %% [markdown]
# **What to see.** The middle row is the leak: so many of the test items have a twin in the training set, and nearly all
# (310 of 327) share a hypothesis with it. Why that matters, although the premises differ, is for section 6.
#
# ## 5 Strange sentences and doubtful labels
#
# No rule can say for sure that a sentence does not belong, or that a label is wrong. A detector can put the items in an
# order, the most suspicious first, and a person reads from the top. So the question for a detector is: **how much does
# one have to read** to find what is there?
#
# - `gibberish`: how many bits a character costs under a small model of letters made from all other sentences.
# - `outliers`: how far a sentence is from its nearest neighbours, by the cosine of **embeddings** (vectors in which an
#   encoder, here MiniLM, puts sentences of like meaning near each other).
# - `length_outliers`: the number of words (on a log scale) in robust standard deviations, for premises and hypotheses
#   separately; only sentences more than 3.5 away from the median are listed.

# %%
by_letters = suspects.gibberish(single)
by_meaning = suspects.outliers(single)
by_length = cleaning.length_outliers(single)
pd.concat([by_letters.head(2), by_meaning.head(2)])[["item_id", "premise", "hypothesis", "score"]].round(2)

# %% [markdown]
# **Wrong labels** need a second opinion. *Confident learning* (Northcutt, Jiang & Chuang 2021) takes it from a
# classifier that has not learnt from the item itself, and finds a label suspicious if it is improbable for that
# classifier. Everything depends on how good it is, so we take two. `out_of_sample` trains a quick one on frozen
# embeddings: the data is cut into folds, and each is judged by a classifier trained on the others. We tell it to keep
# the pairs with the same hypothesis in one fold (`group="hypothesis"`): as each hypothesis of `scenes` stands once
# under each label, a classifier that has met its sisters would be misled (section 6 shows how). The other one, the
# **teacher**, is MiniLM fine-tuned on other pairs of `scenes`, whose labels we trust. (Without such pairs,
# `out_of_sample(..., recipe=...)` fine-tunes in each fold.)

# %%
lesson = rest.select(np.sort(rng.permutation(len(rest))[:TEACHER_PAIRS]))
recipe = finetuning.Recipe(epochs=2, learning_rate=1.5e-4)
finetuning.train(model, finetuning.encode(lesson, tokenizer), losses.one_hot(lesson["label"], 3), recipe, seed=SEED)


def ask(pairs):
    """The teacher's predictions."""
    return finetuning.predict(model, finetuning.encode(pairs, tokenizer), pairs)


frozen = suspects.out_of_sample(single, seed=SEED, group="hypothesis")
opinions = {"frozen features": frozen, "fine-tuned teacher": ask(single)}
doubts = {judge: suspects.label_errors(single, opinion) for judge, opinion in opinions.items()}
before = sound["gold_label"].reindex(single["item_id"]).to_numpy()
print("Share of pairs to which each gives the label that was there before we planted errors:")
{judge: f"{(opinion['predicted'] == before).mean():.0%}" for judge, opinion in opinions.items()}

# %% [markdown]
# The first judge is right about half of the time: well above guessing (33 %), and it costs seconds. (It is also about
# what the premise alone gives away, as section 6 will show.) The second is better. Now we can compare. For each
# detector and the errors that it is made for: what share of them has a reader met who has read so much of the list?

# %%
ids = set(single["item_id"])
there = {kind: [item for item in items if item in ids] for kind, items in planted.items()}
lists = {
    "gibberish, by letters": (by_letters, "gibberish"),
    "foreign, by embedding": (by_meaning, "foreign"),
    "long, by words": (by_length, "long"),
    "flipped label, frozen features": (doubts["frozen features"], "flipped"),
    "flipped label, fine-tuned teacher": (doubts["fine-tuned teacher"], "flipped"),
}
ax = plots.clean_axes(size=(7, 4))
for k, (name, (ranked, kind)) in enumerate(lists.items()):
    met = ranked["item_id"].drop_duplicates().isin(there[kind]).cumsum() / len(there[kind])
    share = np.arange(1, len(met) + 1) / len(single)
    ax.plot(share, met.to_numpy(), plots.LINES[k % 4], color=plots.COLOURS[k], label=name)
ax.plot(share, share, color="#BBBBBB", linewidth=4, zorder=0, label="reading at random")
ax.set(xlabel="share of the corpus read", ylabel="share of the planted errors met", xscale="log", ylim=(0, 1.02))
ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# **What to see.** (The horizontal axis is logarithmic.) Gibberish, foreign and long sentences come first in their
# lists; two of these curves coincide. Wrong labels do not. With frozen features the curve is above the grey one,
# reading at random: the first tenth of the list holds about a quarter of the wrong labels, the first fifth nearly half.
# The teacher's list is better: its first tenth holds more than half of them, but one has to read about 45 % to meet
# nine in ten. The same in numbers, for a reader who reads twice as many items as were planted,
# and for `flagged`, those that confident learning itself takes for errors:


# %%
def with_interval(row):
    return f"{row['share']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


reads = {name: ranked["item_id"].drop_duplicates().head(2 * len(there[kind])) for name, (ranked, kind) in lists.items()}
flagged = doubts["fine-tuned teacher"].query("flagged")["item_id"]
rows = []
for name, read in {**reads, "flagged with the teacher": flagged}.items():
    kind = lists[name][1] if name in lists else "flipped"
    found = suspects.precision_recall(read, there[kind], len(single))
    rows.append([name, len(set(read)), *found.apply(with_interval, axis=1), found.loc["precision", "chance"]])
pd.DataFrame(rows, columns=["detector", "read", "precision", "recall", "precision by chance"]).round(2)

# %% [markdown]
# **Check.** (95 % intervals of Wilson in brackets. Precision cannot be above about one half where we read twice as many
# as there are. The list of lengths ends after 29 items.) What was planted crudely is found completely. Real errors are
# subtler, so take these numbers as the best case. For wrong labels a detector is as good as its judge, and what a judge
# finds hard it calls wrong: of five flagged labels four are right.
#
# So a list is for reading, not for deleting: to drop what is flagged would throw away mostly right labels, and the hard
# pairs first. We play the reader, with our list of what was planted: the confirmed strangers go, the confirmed wrong
# labels are corrected, and the wrong labels that nobody met **stay**, as they would in your data.

# %%
strange = {item for name in list(lists)[:3] for item in set(reads[name]) & set(there[lists[name][1]])}
mended = sorted(set(reads["flipped label, fine-tuned teacher"]) & set(there["flipped"]))
rows = corpora.without(single, strange).to_pandas().set_index("item_id")
rows["label"] = rows["label"].map(dict(enumerate(names)))
rows.loc[mended, "label"] = sound.loc[mended, "gold_label"]
trusted = corpora.to_dataset(rows.reset_index(), names)
still_wrong = len(there["flipped"]) - len(mended)
print(f"{len(trusted)} pairs; {len(mended)} labels corrected, {still_wrong / len(trusted):.1%} still wrong.")

# %% [markdown]
# ## 6 Split
#
# A test set is to say how a model does on what it has not met. In most NLI corpora a premise has several hypotheses
# (three in SNLI), in ours a hypothesis has three premises. Does it matter if such a family is torn apart? Take all of
# `scenes`, where every hypothesis stands once under each label, so that it says **nothing** about the label. Split it
# pair by pair and by hypothesis, and let a classifier guess the label from the hypothesis alone:

# %%
shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
rows = {}
for group in (None, "hypothesis"):
    parts = splits.split(scenes, shares, seed=SEED, group=group)
    guesses = bias.predict_from(parts["train"], parts["test"], reads="hypothesis")
    rows[f"kept together: {group}"] = proportion(guesses["predicted"] == guesses["label"])
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# **What to see.** Split by hypothesis, the guess is right as often as chance, one third. Split pair by pair it is
# nearly *always wrong*: a hypothesis that the classifier has met as *entailment* and as *neutral* has only
# *contradiction* left. A model that noticed could be right in about four of five test pairs
# without having read a premise: 64 % of them have both their sisters in the training set, so that only one label is
# left, and 32 % have one, so that two are left. A split that tears families apart tells the answers, one way or the
# other.
#
# So we split by family (`group="premise"`, right for SNLI, is the default; here it is the hypothesis), and
# **stratified**: each part gets its share of every label. `crossing` lists the families in more than one part. A small
# test set gives a wide interval; **k-fold** cross-validation lets every pair be tested once, by a model that has learnt
# from the other folds. Both follow; the folds are for the classifier that reads only the premise.

# %%
parts = splits.split(trusted, shares, seed=SEED, group="hypothesis")
assert splits.crossing(parts, "hypothesis").empty and splits.crossing(parts, "premise").empty
print(len(splits.crossing(sets, "hypothesis")), "hypotheses crossed the sender's sets; none crosses ours.")

rows = []
for training, testing in splits.folds(trusted, k=5, seed=SEED, group="hypothesis"):
    fold = {"train": training, "test": testing}
    assert splits.crossing(fold, "hypothesis").empty and splits.crossing(fold, "premise").empty
    guesses = bias.predict_from(training, testing, reads="premise")
    rows.append(proportion(guesses["predicted"] == guesses["label"]))
print("Five folds, premise only:", *map(with_interval, rows), sep="  ")
splits.label_balance(parts).round(2)

# %% [markdown]
# **Check.** The parts have the shares that we asked for, of all labels. The intervals of single folds are about 12
# points wide, and the five shares scatter within them; together the folds have tested all pairs. That the premise alone
# is right about half the time, and not one third, is no leak: no premise or hypothesis crosses the parts. It is a
# shortcut in the corpus, which section 8 measures.
#
# ### When labels are not balanced
#
# Suppose that *contradiction* is rare. A model can then be often right by never saying it. Two remedies, both for the
# **training part only**: weights in the loss, $w_\ell = N / (K n_\ell)$ with $N$ pairs, $K$ labels and $n_\ell$ pairs
# with the label $\ell$, or re-sampling.

# %%
codes = np.array(parts["train"]["label"])
rare = parts["train"].select(np.flatnonzero((codes != 2) | (rng.random(len(codes)) < 0.2)))
by_hand = len(rare) / (3 * np.bincount(rare["label"]))
assert np.allclose(by_hand, splits.class_weights(rare))
balanced = {how: splits.resample(rare, how, seed=SEED) for how in ("over", "under")}
table = splits.label_balance({"as it is": rare, **balanced})[["pairs", *names]]
table.loc["weight of a pair as it is", names] = by_hand
table.round(1)

# %% [markdown]
# **Check.** *Over* repeats the rare pairs (and the model may learn these few by heart), *under* throws most of the
# others away, weights do neither. Had we repeated pairs before the split, copies would stand in training and test set:
# section 4's leak, made at home.
#
# ## 7 Augment: does the label survive?
#
# **Augmentation** makes new training pairs out of old ones and copies the label. In sentiment analysis a synonym hardly
# matters. In NLI one word decides: "a dog sleeps" follows from "a puppy sleeps", not the other way round. Four methods,
# all offline with our own lexicon and grammar, so that we know what they do:
#
# - `synonym`: a word by one that means the same;
# - `careless synonym`: a word or phrase by one of the same kind that means something else, as word embeddings would
#   confuse them ("cat", "dog"; "on the island", "in the new suburb");
# - `paraphrase`: the sentence by rules, in other voice or order;
# - `back-translation`: word by word through a small German dictionary and back, a simulation of a translation model.

# %%
METHODS = ("synonym", "careless synonym", "paraphrase", "back-translation")
few = parts["train"].select(range(AUGMENTED))
new = {method: augmentation.augment(few, method, seed=SEED) for method in METHODS}
before = few.to_pandas().set_index("item_id")["hypothesis"]
rows = {method: pairs.to_pandas().iloc[0] for method, pairs in new.items()}
changed = pd.DataFrame(rows).T[["source_id", "hypothesis", "label"]]
changed["label"] = [names[code] for code in changed["label"]]
changed.assign(before=before[changed["source_id"]].to_numpy(), pairs=[len(pairs) for pairs in new.values()])[
    ["before", "hypothesis", "label", "pairs"]
]

# %% [markdown]
# `pairs` says how many of the given pairs a method could change. The models of the hub go through the same function:
# `augment(few, "translated", generate=seq2seq("Helsinki-NLP/opus-mt-en-de", "Helsinki-NLP/opus-mt-de-en"))`.
#
# Which labels survive the exchange of one word? *Natural logic* (MacCartney & Manning 2009) says it. If a premise
# entails the hypothesis, it also entails anything **weaker**, so *entailment* survives a weaker hypothesis. If a
# premise contradicts the hypothesis, it also contradicts anything **stronger**, so *contradiction* survives a stronger
# one. Only a true synonym keeps all three labels. For methods that do more than exchange a word there is no such rule.
# We ask two others: the teacher (is it right about the new pair as often as about the old one?), and a reader: the
# judgements of this notebook's author on 50 pairs a method, which are in `data/augmentation`.

# %%
judged = {method: augmentation.survival(pairs, few, ask).loc["all"] for method, pairs in new.items()}
table = pd.DataFrame(judged).T.astype(float)
read = augmentation.judgements()
kept = read["verdict"].eq("kept").groupby(read["method"]).mean().rename("kept").to_frame()
logic, teacher = table[["kept", "broken", "open"]], table[["right_before", "right_after", "same"]]
pd.concat({"natural logic": logic, "teacher": teacher, "reader": kept.loc[table.index]}, axis=1).round(2)

# %% [markdown]
# **What to see.** `kept`, `broken` and `open` are shares. Natural logic vouches for every synonym. Of the careless ones
# it knows that a few entailments break, and leaves the rest open; the reader, who looks at the whole pair, finds that
# fewer than half of their labels survive (22 of 50 kept: 21 of the 22 entailments and 6 of the 12 contradictions break,
# but only 1 of the 16 neutral pairs), and most of the simulated back-translations (42 of 50). It is one reader, who
# knows the methods. The teacher notices nothing: it nearly always answers as before (`same`), also where a careless
# synonym has broken the label. That a model still agrees does not prove that a label survived.
#
# And does it help? The record in `results/` has fine-tuned MiniLM on 500 pairs with and without augmentation. The
# control gets the same 500 pairs twice, so that it makes as many steps as the others.

# %%
record = json.loads(Path("../results/augmentation.json").read_text(encoding="utf-8"))
found = pd.DataFrame(record["differences"]).query("arm != @augmentation.CONTROL")
figure, axes = plt.subplots(
    1, found["corpus"].nunique(), figsize=(10, 3.2), layout="constrained", sharex=True, sharey=True, squeeze=False
)
for k, (ax, (name, rows)) in enumerate(zip(axes.flat, found.groupby("corpus"), strict=True)):
    error = [rows["difference"] - rows["low"], rows["high"] - rows["difference"]]
    plots.clean_axes(ax).errorbar(
        rows["difference"], rows["arm"], xerr=error, fmt=plots.MARKERS[k], color=plots.COLOURS[k + 1], capsize=3
    )
    ax.axvline(0, color="#BBBBBB", zorder=0)
    ax.set(xlabel="change in test accuracy\nagainst the same pairs twice", title=f"{name}, 500 training pairs")
axes[0, 0].invert_yaxis()
plt.show()
found[["corpus", "arm", "accuracy", "difference", "low", "high"]].round(3)

# %% [markdown]
# **What to see.** Means over five seeds with 95 % intervals over seeds, as differences from the same pairs twice; each
# model answers 1,000 test pairs; `scenes` is generated text, `snli` is not. On average all augmented models are above
# *no augmentation*, which looks like success. But the same pairs twice do so as well: what helped were the additional
# steps. Against this control no method gains anything that the intervals could tell from zero, and on SNLI careless
# synonyms cost about .06, with an interval that only just leaves out zero (one of eight comparisons, not adjusted). On
# `scenes` twice as many real pairs do help. On SNLI their interval is so wide because in one of the five seeds of twice
# as many pairs training failed (accuracy .31, the others .64 to .68): with so few pairs, seeds matter.
#
# ## 8 Bias: what a model can get away with
#
# A corpus has a **shortcut** if the label can be guessed from less than the pair. `shortcuts` trains classifiers that
# see only the hypothesis (Gururangan et al. 2018; Poliak et al. 2018), only the premise, or only how far the words
# overlap (McCoy, Pavlick & Linzen 2019), and compares them with always giving the commonest label.

# %% tags=["nbval-check-output"]
exam = corpora.load_corpus("scenes", "test")
known = bias.shortcuts(scenes, exam)
known[["reads", "n", "accuracy", "low", "high"]].round(2)

# %% [markdown]
# **What to see.** `scenes` gives nothing away through the hypothesis, by design. But it was not designed for the
# premise, and so this alone is enough for more than 60 %: who reports an accuracy of .60 on `scenes` has shown no
# inference. Look back with this in mind: the teacher's 66 % is little more than the premise gives away, and the models
# of section 7, fine-tuned on 500 or 1,000 pairs (.42 to .49), are below it. Differences between such models say little
# about inference.
#
# In SNLI it is the other way round. Its hypotheses were written by people who had been given the label, and
# tell it: hypothesis alone .60 (95 % .59 to .61; the commonest label .33; measured on 18,000 pairs of SNLI, Bowman et
# al. 2015).
#
# ### Which words?
#
# If a word had nothing to do with the label, the share of a label among the sentences with the word would be the
# label's share in the corpus, give or take. How far it is off, in standard errors, is $z = (\hat p - p) / \sqrt{p (1 -
# p) / n}$, where $n$ sentences have the word, $\hat p$ is the label's share among them, and $p$ its share in the corpus
# (Gardner et al. 2021).
#
# There are thousands of words, so some stand out by chance. To see how many, shuffle the labels: then every finding is
# false. The remedy is to adjust the p values for the number of tests (Benjamini & Hochberg 1995: of what is called a
# finding, at most about 5 % are expected to be false).

# %%
words = bias.word_label_association(scenes, "premise")
by_hand = (words["share"] - words["expected"]) / np.sqrt(words["expected"] * (1 - words["expected"]) / words["count"])
assert np.allclose(by_hand, words["z"])

shuffled = scenes.remove_columns("label").add_column(
    "label", rng.permutation(scenes["label"]), feature=scenes.features["label"]
)
tested = {"labels as they are": words, "labels shuffled": bias.word_label_association(shuffled, "premise")}
counts = [[len(each), (each["p"] < 0.05).sum(), (each["p_adjusted"] < 0.05).sum()] for each in tested.values()]
pd.DataFrame(counts, index=list(tested), columns=["words × labels", "p < .05", "adjusted p < .05"])

# %%
ax = plots.clean_axes(size=(7.5, 4))
ax.plot(
    "count",
    "share",
    ".",
    data=words[words["p_adjusted"] >= 0.05],
    color="#BBBBBB",
    markersize=3,
    label="not beyond chance",
)
for k, name in enumerate(names, 1):
    beyond = words[(words["p_adjusted"] < 0.05) & (words["label"] == name)]
    ax.plot("count", "share", plots.MARKERS[k], data=beyond, color=plots.COLOURS[k], markersize=4, label=name)
for word, offset in {"or": (6, 2), "but": (-10, 8), "neither": (6, 2), "perhaps": (7, -3)}.items():
    row = words[words["word"] == word].iloc[0]
    ax.annotate(word, (row["count"], row["share"]), xytext=offset, textcoords="offset points", fontsize=9)
ax.set(
    xscale="log",
    xlabel="premises with the word",
    ylabel="share of them with the label",
    title="scenes (generated text)",
)
ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# **What to see.** The grey funnel is chance; it narrows as words get frequent. With shuffled labels some words still
# have p < .05, and none is left after the adjustment. What lies outside the funnel are words like *or* (neutral) and
# *but* (contradiction): the grammar's patterns use them more for one label. They are where to look, and not yet a proof
# that a model uses them.
#
# ### Who pays?
#
# An average can hide that a model is bad for some. `gap` gives the accuracy by group. Here the groups are what decides
# the pair; with people it would be who is spoken of, or who wrote.

# %%
few_exam = exam.select(np.sort(rng.permutation(len(exam))[:TESTED]))
answers = ask(few_exam)
phenomenon = pd.Series(few_exam["phenomenon"], index=few_exam["item_id"])
worst = bias.gap(answers, by=phenomenon)
worst[["group", "n", "accuracy", "low", "high", "difference", "p_holm"]].iloc[[0, 1, 2, -3, -2, -1]].round(2)

# %% [markdown]
# **Check.** These are the worst three and the best three of all groups; `difference` is the group's accuracy less that
# of all other items. With so many groups *some* must come out last; `p_holm` is adjusted for their number (Holm 1979),
# and 0.00 means below .005. *Factive* has two items, so its 1.00 says nothing, while *role swap* with 11 stands out
# even after adjustment.
#
# ### Does it go by gender?
#
# A **counterfactual** pair is the same pair with one thing changed that must not matter. `counterfactuals` swaps
# gendered words in both sentences; the label stays, and so should the answer.

# %%
swapped = counterfactual.counterfactuals(few_exam)
item = swapped[0]
print(few_exam["premise"][few_exam["item_id"].index(item["item_id"])], item["premise"], sep="\n")
counterfactual.flips(answers, ask(swapped)).round(2)

# %% [markdown]
# **Check.** `flipped` is the share of pairs whose answer changes, here about one in fourteen, with its interval;
# `shift` is how far the probabilities move. The label is the same on both sides, so every flip is an error on
# at least one of them. This is one quickly trained model: an example of the method, not a finding about MiniLM.
#
# ### Re-weighting, before and after
#
# To see a mitigation work we plant a shortcut into `scenes`. Of the pairs with a negated hypothesis that are *not*
# contradictions we keep one in ten, as if the writers had been lazy; then we thin out the other contradictions, so that
# all labels stay about equally frequent. `balancing_weights` gives each pair a weight $w \propto p(\text{label}) /
# p(\text{label} \mid \text{hypothesis})$, under which the hypothesis should say nothing about the label.

# %%
negated = pd.Series(scenes["hypothesis"]).str.contains(r"\b(?:no|not|none|never|neither|nobody)\b|n't\b", case=False)
against = np.array(scenes["label"]) == names.index("contradiction")
keep = np.select([negated & ~against, ~negated & against], [0.1, 1 - 0.9 * negated.mean() / (1 - negated.mean())], 1.0)
lazy = scenes.select(np.flatnonzero(rng.random(len(scenes)) < keep))
lazy = splits.split(lazy, {"train": 0.7, "test": 0.3}, SEED, group="hypothesis")
weights = bias.balancing_weights(lazy["train"], seed=SEED)
rows = {}
for name, each in {"before": None, "after re-weighting": weights}.items():
    guesses = bias.predict_from(lazy["train"], lazy["test"], "hypothesis", weights=each)
    rows[name] = proportion(guesses["predicted"] == guesses["label"])
most = np.bincount(lazy["test"]["label"]).max() / len(lazy["test"])
print(f"Commonest label: {most:.2f}. The weights are worth {bias.effective_size(weights):.0f} of {len(weights)} pairs.")
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# **Check.** Weights cost information: what they are worth is the **effective size**, $(\sum w)^2 / \sum w^2$, since
# unequal weights make estimates as noisy as if there were fewer pairs. The planted shortcut lifts the guess from .33 to
# .41, and re-weighting takes away about a third of that, not all: the weights come from a classifier that knows the
# shortcut only roughly. Look at the data again after a remedy.
#
# And that a shortcut is weaker in the *data* does not yet make a better *model*. Measured on SNLI (Bowman et al. 2015;
# MiniLM fine-tuned on 4,000 of 18,000 pairs, drawn plainly or with these weights; 3 seeds, 95 % intervals over seeds):
#
# | accuracy on test items | before | after | difference |
# |---|---|---|---|
# | hard: a hypothesis-only classifier is wrong | .559 | .559 | .000 [−.027, +.028] |
# | the others | .756 | .628 | −.128 [−.176, −.081] |
#
# (These SNLI numbers, and those of the hypothesis-only classifier above, were measured outside this notebook, on data
# that the repository may not carry; no record of them is in `results/`.)
#
# The gap between hard and easy items shrinks, but only because the model gets worse on the easy ones; on the hard ones
# it gains nothing. A smaller gap alone is no success: report both sides of it.
#
# ## 9 Govern: what must be known of the data, and what must not
#
# **Personal data.** Worker ids are personal data: those of Mechanical Turk lead to a person's public profile.
# `personal_data` searches a table for what has the form of such data, and shows two letters of each find only. First
# what the sender gave us:

# %%
finds = privacy.personal_data(raw)
print(finds.groupby(["column", "kind"]).size().to_string())
assert set(raw.loc[finds.loc[finds["column"] == "comment", "row"], "pairID"]) == set(planted["personal"])
assert privacy.personal_data(trusted).empty
print("In the prepared corpus nothing is found.")
privacy.pseudonymise(["A2X7B5C3D4E6F8", "A9Z8Y7X6W5V4U3", "A2X7B5C3D4E6F8"])


# %% [markdown]
# **Check.** The scan found all worker ids and the three planted comments. What has no form (names, streets, stories) no
# pattern finds, so an empty list is no proof. `pseudonymise` numbers ids in the order in which they appear: one can
# still see who did what, which notebook 03 needs, but not who they are.
#
# **A data card** says what a corpus is, whence it comes and what is known to be wrong with it (Gebru et al. 2021;
# Bender & Friedman 2018). Whatever can be counted is counted by code, with a hash of the content; the rest are your
# notes, and what nobody says is "not stated". `files.write_text` saves it beside the data.

# %%
card = cards.data_card(
    parts,
    "from a colleague, prepared",
    source="sentence pairs of scenes with errors planted in notebook 02",
    licence="CC BY 4.0",
    languages=["en"],
    notes={
        "purpose": "To show how data is prepared.",
        "people": "None: the sentences are generated, the workers' ids are made up.",
        "ids": "Numbered in order of appearance (cift.privacy.pseudonymise).",
        "limits": f"{still_wrong} of {len(trusted)} labels are known to be wrong and were left, as in section 5.",
    },
    shortcuts=bias.shortcuts(parts["train"], parts["test"]),
)
files.write_text(folder / "CARD.md", card)
shutil.rmtree(folder)
Markdown(card.split("---", 2)[2].replace("\n#", "\n####"))

# %% [markdown]
# **Check.** Four questions are answered and four are open. An open question in a card is worth more than no card: it
# tells the next reader what you do not know.
#
# ## Recap
#
# - Load with names for columns and labels; one message says what is wrong and how much of it. The sender's file stays
#   as it is.
# - Cleaning repairs the spelling of characters, not of people; lower case is a choice that belongs to the tokenizer.
# - Of two similar pairs ask for the labels: copies go, conflicts are looked at, contrasts stay.
# - A detector makes a reading list. Crude errors come first in it; wrong labels are found as well as the judge is good.
# - Split by family, before anything is repeated. A hypothesis that says nothing can still tell the label through a
#   leak.
# - In NLI an augmented label may not survive, and a weak judge does not see it.
# - Measure shortcuts before you believe an accuracy, and both sides of a gap before you believe a remedy.
# - Write the card, with what is still wrong.

# %% [markdown]
# ## Exercises
#
# 1. Set `threshold=0.5` in section 4. How do precision and recall of near copies change, and how many contrasts are
#    found?
# 2. In section 5, read four times as many items as were planted. What do precision and recall of the teacher's list
#    become? How many pairs would you have to read to correct 90 % of the wrong labels?
# 3. Train the teacher on 300 and on 10,000 pairs (`TEACHER_PAIRS`). How does the curve of the flipped labels follow?
#    How does `right_after` in section 7?
# 4. Rank items by the teacher *and* the frozen features (mean of the two ranks). Is that better than the teacher alone,
#    and why?
# 5. In the first cell of section 6 set `reads="premise"` and run it (the cell after it asserts that no family is torn,
#    so leave that one alone). The accuracy falls again when pairs are split one by one, but far less than with the
#    hypothesis. Why?
# 6. `augmentation.natural_logic(new["careless synonym"], few)` gives the verdict for each new pair. Cross-tabulate
#    `label` and `verdict`. Then do the same for `augmentation.augment(few, "careless synonym", side="premise",
#    seed=SEED)`. Which verdict disappears, and why does natural logic know less when the premise is changed?

# %% [markdown]
# ## Where next
#
# `03_ask_the_crowd` asks people about such pairs and judges their answers; `04_fit_irt` turns these into a scale. To
# prepare your own file, begin with `load_corpus("yours.csv")` and let the message tell you what it needs.

"""The questionnaire: a form that a real browser runs, texts that stay texts, and every fault of a file named."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import warnings
from html.parser import HTMLParser

import pandas as pd
import pytest

from cift import questionnaire
from cift.corpora import LABELS, load_corpus, to_dataset
from cift.crowds import to_wide
from cift.errors import InputError

NASTY = [
    "</script><script>window.broken = true</script>",
    "<img src=x onerror='window.broken = true'> & \"quotes\" 'too' &amp; \\u003c \\",
    "line\u2028separator \u2029 and <!-- comment --> ]]> ${x} `y` __TITLE__",
    "הכלב ישן בגינה, واللغة العربية",
    "emoji 🐢, NFD é",
]
CONTACT = "Seminar <b>NLI</b>, room 12"


def corpus(n, prefix="q", why=None):
    rows = [
        {
            "item_id": f"{prefix}{i}",
            "premise": NASTY[i % len(NASTY)] + f" {i}",
            "hypothesis": f"Hypothesis {prefix}{i}.",
            "label": LABELS[i % 3],
            **({"why": why} if why else {}),
        }
        for i in range(n)
    ]
    return to_dataset(pd.DataFrame(rows))


def write(folder, n=8, **changes):
    wanted = {"practice": corpus(2, "p", why="Because <i>so</i>."), "checks": corpus(2, "c"), "seed": 3} | changes
    return questionnaire.write(corpus(n), folder, title="Who & <what>?", contact=CONTACT, **wanted)


def embedded(form):
    return json.loads(re.search('id="form">(.*?)</script>', form.read_text(encoding="utf-8"), re.DOTALL)[1])


def answers(form, respondent="ant", **columns):
    """What a person would hand in who says "neutral" to everything, as a table of text."""
    asked = embedded(form)
    lists = {"practice": asked["practice"], "item": asked["items"], "check": asked["checks"]}
    kinds = [(item["item_id"], kind) for kind, items in lists.items() for item in items]
    table = pd.DataFrame(kinds, columns=["item_id", "kind"]).assign(
        respondent=respondent, answer="neutral", order=range(1, len(kinds) + 1), seconds="2.5", form=asked["id"]
    )
    return table.assign(**columns)[questionnaire.COLUMNS].astype(str)


def hand_in(table, path):
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, index=False)
    return path


# the file


class Elements(HTMLParser):
    """Every element's attributes; fails where a tag is not closed in the order of opening."""

    VOID = {"meta", "input", "br", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.data = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data[self.open[-1] if self.open else ""] = data


def test_the_form_is_one_well_formed_file_that_needs_nothing_else(tmp_path):
    form = write(tmp_path)
    text = form.read_text(encoding="utf-8")
    page = Elements(text)
    assert page.data["title"] == "Who & <what>?"
    assert dict(page.found)["html"] == {"lang": "en"}
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = [
        attributes[name]
        for _, attributes in page.found
        for name in ("for", "aria-labelledby", "aria-describedby")
        if name in attributes
    ]
    assert referred and set(referred) <= set(ids)
    assert not [tag for tag, attributes in page.found if "src" in attributes or "href" in attributes]
    assert not re.search(r"https?:|@import|url\(", text)


def test_the_policy_allows_the_forms_own_script_and_style_and_nothing_else(tmp_path):
    text = write(tmp_path).read_text(encoding="utf-8")
    policy = html.unescape(re.search('Content-Security-Policy" content="(.*?)"', text)[1])
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.keys() == {"default-src", "base-uri", "form-action", "script-src", "style-src"}
    assert rules["default-src"] == rules["form-action"] == "'none'"
    for tag in ("script", "style"):
        content = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def test_texts_survive_unchanged_and_close_no_element(tmp_path):
    form = write(tmp_path)
    assert [item["premise"] for item in embedded(form)["items"]] == corpus(8)["premise"]
    block = re.search('id="form">(.*?)</script>', form.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert not set("<>&\u2028\u2029") & set(block)


def test_only_practice_items_show_their_label_and_the_items_are_in_a_table(tmp_path):
    form = write(tmp_path)
    asked = embedded(form)
    assert all("label" in item and item["why"] for item in asked["practice"])
    assert not any("label" in item for item in asked["items"] + asked["checks"])
    table = load_corpus(tmp_path / "items.csv").to_pandas()
    assert table["kind"].value_counts().to_dict() == {"item": 8, "practice": 2, "check": 2}
    assert table.loc[table["kind"] == "item", "premise"].tolist() == corpus(8)["premise"]


def test_the_same_form_has_the_same_bytes_and_another_one_another_id(tmp_path):
    first, same, other = write(tmp_path / "1"), write(tmp_path / "2"), write(tmp_path / "3", seed=4)
    assert first.read_bytes() == same.read_bytes()
    assert embedded(first)["id"] != embedded(other)["id"]


def test_parts_are_balanced(tmp_path):
    parts = embedded(write(tmp_path, per_person=3))["parts"]
    assert {len(set(part)) for part in parts} == {3}
    counts = pd.Series([i for part in parts[:25] for i in part]).value_counts()
    assert len(counts) == 8 and counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": " "}, "the title is empty"),
        ({"checks": corpus(2)}, "item 'q0' occurs twice; item 'q1' occurs twice"),
        (
            {"labels": {"entailment": "yes", "neutral": " "}},
            "label 'neutral' has no words.*label 'contradiction' has no",
        ),
        ({"labels": dict.fromkeys([*LABELS, "maybe"], "x")}, "labels: 'maybe' is no label of the corpus"),
        ({"per_person": 9}, "per_person is 9, the items 8"),
        (
            {"practice": to_dataset(corpus(2, "p").to_pandas().assign(label="no"), ["no", "yes"])},
            "practice items have the labels no, yes",
        ),
    ],
)
def test_a_form_that_cannot_be_is_refused(tmp_path, changes, message):
    given = {"title": "t", "contact": "c"} | changes
    with pytest.raises(InputError, match=message):
        questionnaire.write(corpus(8), tmp_path, **given)
    assert not list(tmp_path.iterdir())


# reading


def test_a_class_is_read_into_one_long_table(tmp_path):
    form = write(tmp_path)
    hand_in(answers(form, "ant"), tmp_path / "in" / "a.csv")
    bee = answers(form, "bee")
    bee.loc[3, "answer"] = ""
    (tmp_path / "in" / "b.csv").write_text(
        "\ufeff" + bee.to_csv(index=False, sep=";"), encoding="utf-8"
    )  # a spreadsheet's
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        long = questionnaire.read(tmp_path / "in", form)
    assert list(long) == ["respondent", "item_id", "answer", "order", "seconds", "kind"]
    assert long["respondent"].value_counts().to_dict() == {"ant": 12, "bee": 12}
    assert long["kind"].value_counts().to_dict() == {"item": 16, "practice": 4, "check": 4}
    assert long["answer"].isna().sum() == 1 and long["answer"].dropna().eq("neutral").all()
    assert long["order"].dtype.kind == "i" and long["seconds"].eq(2.5).all()
    responses = to_wide(long[long["kind"] == "item"])
    assert responses.shape == (2, 8) and responses.loc["bee", "q1"] is None
    assert questionnaire.read(tmp_path, form).equals(long)  # the form's own items.csv is no answer


def test_an_unfinished_form_is_kept_and_named(tmp_path):
    form = write(tmp_path)
    table = answers(form)
    table.loc[9:, ["answer", "seconds"]] = ""
    with pytest.warns(UserWarning, match=r"not finished: ant \(3 left\)"):
        assert len(questionnaire.read(hand_in(table, tmp_path / "in" / "a.csv"), form)) == 9


def test_the_same_file_twice_counts_once_and_two_different_ones_are_refused(tmp_path):
    form = write(tmp_path)
    hand_in(answers(form), tmp_path / "in" / "a.csv")
    hand_in(answers(form), tmp_path / "in" / "a (1).csv")
    with pytest.warns(UserWarning, match=r"handed in twice, kept once: .*a\.csv as .*a \(1\)\.csv"):
        assert len(questionnaire.read(tmp_path / "in", form)) == 12
    hand_in(answers(form, answer="entailment"), tmp_path / "in" / "b.csv")
    with pytest.raises(InputError, match=r"b\.csv: respondent 'ant' has other answers in .*a \(1\)\.csv.*saved last"):
        questionnaire.read(tmp_path / "in", form)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("item_id", "zz", "row 4, column item_id is 'zz'"),
        ("answer", "maybe", "row 4, column answer is 'maybe'"),
        ("order", "0", "row 4, column order is '0'"),
        ("order", "1", "row 4, column order repeats '1'"),
        ("item_id", "q1", "row 5, column item_id repeats 'q1'"),
        ("seconds", "-1", "row 4, column seconds is '-1'"),
        ("seconds", "", "row 4, column seconds is ''"),
        ("kind", "check", "row 4, column kind is 'check'"),
        ("respondent", "", "row 4, column respondent is ''"),
        ("form", "abc", "column form is 'abc': these are answers to another form"),
    ],
)
def test_every_fault_is_named_with_file_row_and_column(tmp_path, column, value, message):
    form = write(tmp_path)
    table = answers(form)
    table.loc[2, column] = value
    with pytest.raises(InputError, match=rf"in.a\.csv: .*({message})"):
        questionnaire.read(hand_in(table, tmp_path / "in" / "a.csv"), form)


def test_all_faults_of_all_files_come_in_one_message(tmp_path):
    form = write(tmp_path)
    hand_in(answers(form).iloc[:10], tmp_path / "in" / "cut.csv")
    hand_in(answers(form).drop(columns="kind"), tmp_path / "in" / "narrow.csv")
    (tmp_path / "in" / "empty.csv").write_text("")
    with pytest.raises(InputError) as error:
        questionnaire.read(tmp_path / "in", form)
    for part in ("'ant' has 10 rows of 12", "there is no column 'kind'", "empty.csv: the file is empty"):
        assert part in str(error.value)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no .csv file of answers"):
        questionnaire.read(tmp_path / "nothing", form)
    with pytest.raises(InputError, match="items.csv: not a questionnaire"):
        questionnaire.read(tmp_path / "in", tmp_path / "items.csv")


def test_files_of_other_names_are_told_and_columns_are_there_once(tmp_path):
    form = write(tmp_path)
    hand_in(answers(form), tmp_path / "in" / "A.CSV")
    hand_in(answers(form, "bee"), tmp_path / "in" / "b.csv.txt")
    with pytest.warns(UserWarning, match=r"does not end in .csv: .*b\.csv\.txt"):
        assert questionnaire.read(tmp_path / "in", form)["respondent"].unique().tolist() == ["ant"]
    table = answers(form, "cow")
    hand_in(pd.concat([table, table["answer"]], axis=1), tmp_path / "in" / "c.csv")
    with pytest.raises(InputError, match=r"c\.csv: two columns are 'answer'"):
        questionnaire.read(tmp_path / "in", form)


def test_items_may_be_without_label_practice_and_checks_not(tmp_path):
    def unlabelled(prefix):
        return corpus(3, prefix).map(lambda item: {"label": -1})

    write(tmp_path, n=3)
    questionnaire.write(unlabelled("q"), tmp_path, title="t", contact="c")
    assert pd.read_csv(tmp_path / "items.csv")["label"].isna().all()
    with pytest.raises(InputError, match="practice item 'p0' has no label.*check item 'c0' has no label"):
        write(tmp_path, practice=unlabelled("p"), checks=unlabelled("c"))


def test_no_spreadsheet_takes_the_forms_id_for_a_number(tmp_path):
    assert embedded(write(tmp_path))["id"][0] == "f"


# in a browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DRIVER = """<!DOCTYPE html><meta charset="utf-8">
<iframe src="form.html" width="390" height="844"></iframe><pre id="out"></pre>
<script>
const frame = document.querySelector("iframe"), downloads = [];
let copied = ""; // null: the browser allows no copying
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const window_ = () => frame.contentWindow, $ = (id) => frame.contentDocument.getElementById(id);
const hook = async () => {
  const w = window_(), make = w.URL.createObjectURL;
  w.confirm = () => true;
  const clipboard = { writeText: (text) => (copied === null ? Promise.reject() : (copied = text)) };
  Object.defineProperty(w.navigator, "clipboard", { value: clipboard });
  w.URL.createObjectURL = (blob) => { downloads.push({ bytes: blob.arrayBuffer() }); return make.call(w.URL, blob); };
  w.HTMLAnchorElement.prototype.click = function () { downloads.at(-1).name = this.download; };
};
const press = async (key) => {
  const target = frame.contentDocument.activeElement;
  target.dispatchEvent(new (window_().KeyboardEvent)("keydown", { key, bubbles: true, cancelable: true }));
  await sleep(300);
};
const click = async (id) => { $(id).click(); await sleep(300); };
const reload = async () => {
  const loaded = new Promise((done) => { frame.onload = done; });
  window_().location.reload();
  await loaded;
  await hook();
};
const begin = async (pseudonym, number) => {
  $("agree").click(); $("pseudonym").value = pseudonym; $("number").value = number ?? ""; await click("begin");
};
const saved = async () => {
  await click("save");
  return [downloads.at(-1).name, [...new Uint8Array(await downloads.at(-1).bytes)]];
};
const page = () => ["start", "item", "end"].filter((id) => !$(id).hidden);
const state = () => ({ position: $("position").textContent, page: page() });
frame.onload = async () => {
  frame.onload = null;
  let result;
  try { await hook(); result = await (async () => { __STEPS__ })(); } catch (error) { result = { error: error.stack }; }
  document.getElementById("out").textContent = "<<" + btoa(unescape(encodeURIComponent(JSON.stringify(result)))) + ">>";
};
</script>"""


@pytest.fixture
def drive(tmp_path):
    """Runs steps (JavaScript, with the driver's functions) on a form in a frame, and gives what they return."""
    browser = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path, and CHROME does not name one")

    def run(form, steps):
        driver = form.with_name("driver.html")
        driver.write_text(DRIVER.replace("__STEPS__", steps), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
        profile = tmp_path / "profile"
        new = not profile.exists()
        command += [f"--user-data-dir={profile}", "--virtual-time-budget=60000", "--dump-dom"]
        for _ in range(3):  # now and then the virtual time is over before the real work is
            dump = subprocess.run([*command, driver.as_uri()], capture_output=True, text=True, timeout=120)
            if found := re.search("&lt;&lt;([A-Za-z0-9+/=]+)&gt;&gt;", dump.stdout):
                break
            if new:
                shutil.rmtree(profile, ignore_errors=True)
        assert found, dump.stdout[-2000:] + dump.stderr[-2000:]
        result = json.loads(base64.b64decode(found[1]))
        assert "error" not in result, result
        return result

    return run


def keep(saved, folder):
    folder.mkdir(exist_ok=True)
    name, content = saved
    (folder / name).write_bytes(bytes(content))


def test_what_a_browser_saves_is_read_back(tmp_path, drive):
    """Practice with feedback, keys, skip, back and change, reload in the middle, save; then the reader."""
    form = write(tmp_path)
    result = drive(
        form,
        """
        const seen = {};
        seen.title = frame.contentDocument.title;
        seen.contact = frame.contentDocument.querySelector("[data-text=contact]").textContent;
        await click("begin"); seen.without_consent = state().page;
        await begin("=fox <1>");
        await press("1"); seen.right = $("feedback").textContent; seen.focus = frame.contentDocument.activeElement.id;
        await press("3"); seen.locked = $("choices").children[0].getAttribute("aria-pressed");
        await press("ArrowRight");
        await press("0"); seen.wrong = $("feedback").textContent;
        await click("next"); seen.first = state();
        const texts = [];
        texts.push($("premise").textContent);
        await press("ArrowRight"); seen.not_past = state().position;
        await press("ArrowDown"); await press("ArrowDown"); seen.arrows = frame.contentDocument.activeElement.value;
        await sleep(4000); frame.contentDocument.activeElement.click(); await sleep(300);
        await press("3");
        await press("ArrowLeft"); seen.kept = [...$("choices").children].map((b) => b.getAttribute("aria-pressed"));
        await press("1");
        await press("0");
        $("choices").children[1].click(); $("choices").children[1].click(); await sleep(300);
        seen.before = state();
        await reload(); seen.welcome = $("resume-text").textContent;
        await click("continue"); seen.after = state();
        while (state().page[0] === "item") { texts.push($("premise").textContent); await press("2"); }
        seen.end = $("summary").textContent; seen.texts = texts;
        seen.saved = await saved(); seen.shown = $("csv").value;
        await click("copy"); seen.copied = [$("done").textContent, copied];
        copied = null; frame.contentDocument.execCommand = () => false;
        await click("copy"); seen.refused = $("done").textContent;
        seen.broken = Boolean(window_().broken);
        return seen;
        """,
    )
    assert result["title"] == "Who & <what>?" and result["contact"] == CONTACT and not result["broken"]
    assert result["without_consent"] == ["start"]
    assert result["right"] == "Yes, that is right. Because <i>so</i>." and result["focus"] == "next"
    assert result["locked"] == "true"
    assert result["wrong"].startswith(
        "The answer here is “maybe true, maybe not”. Because <i>so</i>. That was the practice"
    )
    assert result["first"] == {"position": "Item 1 of 10", "page": ["item"]} and result["not_past"] == "Item 1 of 10"
    assert result["arrows"] == "neutral" and result["kept"] == ["false", "false", "true"]
    assert result["before"]["position"] == result["after"]["position"] == "Item 5 of 10"
    assert "6 of 12" in result["welcome"] and result["end"].startswith("You are fox-1-")
    name, content = result["saved"]
    assert re.fullmatch("answers-fox-1-[a-z]{7}.csv", name)
    text = bytes(content).decode("utf-8-sig")
    assert content[:3] == [0xEF, 0xBB, 0xBF] and text.replace("\r\n", "\n") == result["shown"]
    assert result["copied"] == ["Copied.", text] and result["refused"].endswith("copy it yourself.")
    assert set(result["texts"]) <= {*corpus(8)["premise"], *corpus(2, "c")["premise"]}

    keep(result["saved"], tmp_path / "in")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        long = questionnaire.read(tmp_path / "in", form)
    assert long["answer"].where(long["answer"].notna(), "-").str[0].str.cat() == "e-ne-n" + "nnnnnn"
    assert long["order"].tolist() == list(range(1, 13))
    assert long["item_id"].tolist()[:2] == ["p0", "p1"] and set(long["item_id"][2:]) == {f"q{i}" for i in range(8)} | {
        "c0",
        "c1",
    }
    assert long["seconds"].between(0.2, 1).sum() == 11 and long["seconds"][2] > 4


def test_orders_differ_between_people_and_checks_are_spread(tmp_path, drive):
    form = write(tmp_path, n=12, practice=None)
    orders = drive(
        form,
        """
        const orders = [];
        for (let i = 0; i < 8; i++) {
          if (i) { await reload(); await click("anew"); }
          await begin("");
          await click("stop");
          orders.push($("csv").value.trim().split("\\n").slice(1).map((line) => line.split(",")[1]));
        }
        return orders;
        """,
    )
    assert len({tuple(order) for order in orders}) == 8
    assert all(sorted(order) == sorted(orders[0]) and len(order) == 14 for order in orders)
    for order in orders:
        first, second = (i for i, item in enumerate(order) if item.startswith("c"))
        assert 1 <= first <= 7 < second + 1 and first < second
    assert len({order[0] for order in orders}) > 1


def test_numbers_hand_out_the_balanced_parts(tmp_path, drive):
    form = write(tmp_path, per_person=3, practice=None, checks=None)
    parts = embedded(form)["parts"]
    got = drive(
        form,
        """
        const got = [];
        for (const number of [1, 2, 201, ""]) {
          if (got.length) { await reload(); await click("anew"); }
          await begin("", number);
          await click("stop");
          got.push($("csv").value.trim().split("\\n").slice(1).map((line) => line.split(",")[1]));
        }
        return got;
        """,
    )
    drawn = [sorted(int(item[1:]) for item in items) for items in got]
    assert drawn[:3] == [sorted(parts[0]), sorted(parts[1]), sorted(parts[0])]
    assert drawn[3] in [sorted(part) for part in parts]


def test_a_browser_that_keeps_nothing_says_so_and_still_saves(tmp_path, drive):
    form = write(tmp_path)
    denied = """<script>
for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
"""
    broken = form.read_text(encoding="utf-8").replace("<script>\n", denied)
    form.write_text(re.sub("<meta http-equiv.*?>", "", broken), encoding="utf-8")
    result = drive(
        form,
        """
        const warned = !$("no-storage").hidden;
        await begin("owl");
        while (state().page[0] === "item") { await press("2"); if (!$("feedback").hidden) await click("next"); }
        return { warned, saved: await saved() };
        """,
    )
    assert result["warned"]
    keep(result["saved"], tmp_path / "in")
    assert questionnaire.read(tmp_path / "in", form)["answer"].eq("neutral").all()


def test_answers_outlive_the_browser(tmp_path, drive):
    form = write(tmp_path)
    first = drive(
        form, 'await begin("elk"); await press("1"); await press("ArrowRight"); await sleep(9000); return state();'
    )
    again = drive(
        form, 'const text = $("resume-text").textContent; await click("continue"); return { text, ...state() };'
    )
    assert first["position"] == again["position"] == "Practice 2 of 2" and again["text"].startswith(
        "This browser keeps the answers of elk-"
    )


def test_a_second_tab_writes_over_nothing_and_a_full_store_is_told(tmp_path, drive):
    form = write(tmp_path, practice=None)
    result = drive(
        form,
        """
        const key = "cift-questionnaire-" + JSON.parse($("form").textContent).id;
        const row = { item_id: "q1", kind: "item", answer: "neutral", seconds: 2 };
        const first = { respondent: "fox-x", at: 1, rows: [row] };
        window_().localStorage.setItem(key, JSON.stringify(first)); // begun in another tab, after this one was opened
        await begin("fox");
        const second = { page: page(), text: $("resume-text").textContent, kept: window_().localStorage.getItem(key) };
        await click("anew");
        await begin("elk");
        const quiet = $("no-storage").hidden;
        const store = window_().Storage.prototype, set = store.setItem;
        store.setItem = () => { throw new Error("full"); };
        await press("1");
        const told = [$("no-storage").hidden, $("no-storage").offsetHeight > 0, page()[0]];
        store.setItem = set;
        await press("1");
        return { second, first: JSON.stringify(first), quiet, told, again: $("no-storage").hidden };
        """,
    )
    assert result["second"]["page"] == ["start"] and "fox-x" in result["second"]["text"]
    assert result["second"]["kept"] == result["first"]
    assert result["quiet"] and result["told"] == [False, True, "item"] and result["again"]

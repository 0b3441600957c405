"""The command line: `cift case-study`, `claims`, `report`, `irt`, `fine-tune`, `compare`, `notebook`, `doctor`.

Bad input ends with one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cift import __version__
from cift.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 (doctor found something missing), 2 (bad input), 130 (Ctrl-C)."""
    parser = argparse.ArgumentParser(prog="cift", description="Crowd-Informed Fine-Tuning")
    parser.add_argument("--version", action="version", version=f"cift {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    study = commands.add_parser("case-study", help="run a study and print its table")
    study.add_argument(
        "--study", default="embedded", help="embedded (default), chaosnli, snow-rte, lalor2016, or your own .toml file"
    )
    study.add_argument("--model", default="minilm", help="minilm (default, embedded), nse, a folder, a hub id, ...")
    study.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 (default 3)")
    study.add_argument(
        "--arms",
        default="main",
        metavar="A,B",
        help="main (default: five of them), all that there is data for, or names",
    )
    study.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, which share the cores (default 1)")
    study.add_argument("--json", type=Path, metavar="OUT", help="write the record to this file")
    study.add_argument("--figure", type=Path, metavar="STEM", help="write the figure to STEM.png and STEM.svg")
    study.set_defaults(run=_case_study)

    told = commands.add_parser("claims", help="what was claimed of CIFT, beside what the records measured")
    told.add_argument("--records", type=Path, default=Path("results"), metavar="FOLDER", help="default results")
    told.add_argument("--csv", type=Path, metavar="OUT", help="write the whole table to this file")
    told.set_defaults(run=_claims)

    page = commands.add_parser("report", help="write claims, tables and figures of the records as one HTML page")
    page.add_argument("--records", type=Path, default=Path("results"), metavar="FOLDER", help="default results")
    page.add_argument("--out", type=Path, default=Path("build/report.html"), metavar="OUT")
    page.set_defaults(run=_report)

    _add_irt(commands)
    _add_fine_tune(commands)
    _add_compare(commands)

    notebook = commands.add_parser("notebook", help="execute notebooks with a profile's parameters")
    notebook.add_argument("names", nargs="*", metavar="NAME", help="e.g. 00_start_here (default: all)")
    notebook.add_argument("--profile", default="laptop", help="quick, laptop (default) or full")
    notebook.add_argument("--out", type=Path, default=Path("build/notebooks"), metavar="FOLDER")
    notebook.set_defaults(run=_notebook)

    doctor = commands.add_parser("doctor", help="print what is here, and what to do about what is missing")
    doctor.set_defaults(run=_doctor)

    options = parser.parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"cift: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output has enough, as in `cift claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        return 0
    except OSError as error:  # a full disk, a folder that cannot be written: the user's to mend, too
        print(f"cift: {error}; free space or choose another place, then run the same command again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cift: stopped; finished work is kept, the same command goes on from there", file=sys.stderr)
        return 130


_IRT = """Item response theory on a file of answers. For example:

  cift irt retain answers.csv --gold key.csv --out items.csv    which items make a scale, and why the others do not
  cift irt fit answers.csv --gold key.csv --out bank.csv        calibrate the scale
  cift irt check answers.csv --gold key.csv                     does it hold: fit, dependence, dimensions, reliability
  cift irt score bank.csv others.csv --out theta.csv            place people or models on it"""
_FILES = """RESPONSES.csv: a row a respondent, a column an item, item ids in the first line, respondent ids in the first
column. (A first column with nothing but 0, 1 and missing cells is an item, unless it is called id or the like.)
Cells: 1 right, 0 wrong, or with --gold the labels that were chosen. Missing: empty, NA, N/A, NaN, null, ".", "-", and
what --missing names. UTF-8; separated by comma, semicolon, tab or bar.

GOLD.csv: the columns item_id and label; an item's right answer. Or lines "item label" in a .txt file."""


def _add_irt(commands) -> None:
    form = argparse.RawDescriptionHelpFormatter
    irt = commands.add_parser(
        "irt", help="calibrate, check and use a scale", description=_IRT, epilog=_FILES, formatter_class=form
    )
    parts = irt.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: str, what: str) -> argparse.ArgumentParser:
        part = parts.add_parser(name, help=what, description=what, epilog=_FILES, formatter_class=form)
        part.set_defaults(run=_irt, what=run)
        if name == "score":
            part.add_argument("bank_path", type=Path, metavar="BANK.csv", help="from `cift irt fit`; or item_id, a, b")
        part.add_argument("path", type=Path, metavar="RESPONSES.csv", help="the answers")
        part.add_argument("--gold", type=Path, metavar="GOLD.csv", help="right answers, where the answers are labels")
        part.add_argument(
            "--missing", action="append", default=[], metavar="CODE", help="a code for missing answers, e.g. 9 or -99"
        )
        return part

    fit = add("fit", "fit", "calibrate the items and write their bank")
    fit.add_argument("--model", default="2pl", help="1pl, 2pl (default), 3pl, 4pl, or nominal (of the labels)")
    fit.add_argument("--method", default="mml", help="mml (default), map (priors from the items) or py-irt")
    fit.add_argument("--scale", metavar="NAME", help="what the scale is called (default: the file's name)")
    fit.add_argument("--seed", type=int, default=0, help="for py-irt; the other methods draw nothing (default 0)")
    fit.add_argument("--out", type=Path, required=True, metavar="BANK.csv", help="the items; a BANK.json goes beside")

    score = add("score", "score", "place respondents or models on a calibrated scale")
    score.add_argument("--method", default="eap", help="eap (default), map, mle or wle")
    score.add_argument("--out", type=Path, required=True, metavar="THETA.csv", help="theta, its standard error, ...")

    check = add("check", "check", "does the scale hold? a report on item and person fit, dependence, dimensions")
    check.add_argument("--model", default="2pl", help="1pl, 2pl (default), 3pl or 4pl")
    check.add_argument("--seed", type=int, default=0, help="of the crowds simulated for the dimensions (default 0)")
    check.add_argument("--out", type=Path, metavar="ITEMS.csv", help="write the item table, too")

    retain = add("retain", "retain", "which items make a scale, and why the others do not (Lalor et al., 2016)")
    retain.add_argument("--out", type=Path, required=True, metavar="ITEMS.csv", help="item_id, kept, reason, ...")


def _irt(options: argparse.Namespace) -> int:
    from cift import irt_commands

    given = {name: value for name, value in vars(options).items() if name not in ("run", "what")}
    with _warnings_in_a_line():
        print(getattr(irt_commands, options.what)(**given))
    return 0


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Each warning once, as a line on stderr."""
    told: set[str] = set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            print(f"cift: note: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.showwarning = show
        yield


def _case_study(options: argparse.Namespace) -> int:
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: need at least 1")
    if options.jobs < 1:
        raise InputError(f"--jobs {options.jobs}: need at least 1")
    from cift import arms, casestudy, casestudy_report
    from cift.files import write_text
    from cift.studies import load_study

    _quiet_libraries()
    names = {"main": arms.MAIN, "all": None}.get(options.arms, options.arms.split(","))
    with _warnings_in_a_line():
        study = load_study(options.study)
    record = casestudy.run(study, range(options.seeds), options.model, names, options.jobs)
    print(casestudy_report.headline(record))
    for name, why in record["run"]["left_out"].items():
        print(f"left out: {name} ({why})")
    print(casestudy_report.abilities(record).T.to_string())
    print(casestudy_report.summary(record).to_string())
    if options.json:
        write_text(options.json, json.dumps(record) + "\n")
        print(f"record    {options.json}")
    if options.figure:
        from cift import plots

        for path in plots.save(plots.study(record).flat[0].figure, options.figure):
            print(f"figure    {path}")
    return 0


def _claims(options: argparse.Namespace) -> int:
    from cift import claims, report
    from cift.files import write_text

    found = claims.table(*report.read_records(options.records))
    for (claim, source), rows in report.in_brief(found).groupby(["claim", "source"], sort=False):
        print(f"{claim} ({source})")
        for row in rows.itertuples():
            p = f", p {row.p_holm} after Holm" if row.p_holm else ""
            print(f"    {row.verdict.upper()}: {row.study}, {row.model}: {row.measured}: {row.effect}{p}; n {row.n}")
            print(f"        {row.command}")
    if options.csv:
        write_text(options.csv, found.to_csv(index=False))
        print(f"table     {options.csv}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from cift import report
    from cift.files import write_text

    write_text(options.out, report.page(*report.read_records(options.records)))
    print(f"report    {options.out}")
    return 0


_SOURCES = """CORPUS: a corpus's name with its split (snli@train), a file (.csv, .tsv, .jsonl or .parquet with the
columns premise, hypothesis and label), a folder of such files or a hub id, with @SPLIT where there are several."""


def _add_fine_tune(commands) -> None:
    what = "fine-tune a model on a corpus; under `accelerate launch` in several processes"
    again = "A run that was stopped goes on when the command is given again."
    tune = commands.add_parser("fine-tune", help=what, description=f"{what}. {again}", epilog=_SOURCES)
    tune.add_argument("train", metavar="CORPUS", help="what to learn from, e.g. snli@train or lesson.csv")
    tune.add_argument("--validation", metavar="CORPUS", help="to measure after each epoch, e.g. snli@validation")
    tune.add_argument("--test", metavar="CORPUS", help="to measure in the end")
    tune.add_argument("--model", default="minilm", help="minilm (default), nse, mann, ..., a folder or a hub id")
    tune.add_argument("--strategy", metavar="NAME", help="full (default), lora, ...; short for --recipe strategy=NAME")
    tune.add_argument(
        "--recipe", nargs="+", action="extend", default=[], metavar="SETTING",
        help="name=value, e.g. epochs=3 loss=mse, or a JSON file; the names are those of cift.recipe.Recipe",
    )  # fmt: skip
    tune.add_argument("--seed", type=int, default=0, metavar="N", help="of new weights, order and dropout (default 0)")
    tune.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the model, a record, predictions")
    tune.set_defaults(run=_fine_tune)


def _fine_tune(options: argparse.Namespace) -> int:
    from cift import fine_tune_command

    _quiet_libraries()
    given = {name: value for name, value in vars(options).items() if name not in ("run", "strategy")}
    if options.strategy:
        given["recipe"] = [*given["recipe"], f"strategy={options.strategy}"]
    if told := fine_tune_command.fine_tune(**given):
        print(told)
    return 0


def _add_compare(commands) -> None:
    what = "train strategies on the same pairs, with the same steps and search, and compare what they reach and cost"
    compare = commands.add_parser("compare", help=what, description=what)

    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",")]

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    compare.add_argument("--corpus", default="snli", help="a corpus with the splits train and test (default snli)")
    compare.add_argument("--models", type=names, default="minilm", metavar="A,B", help="default minilm, embedded")
    compare.add_argument("--strategies", type=names, metavar="A,B", help="full, lora, ... (default: all)")
    compare.add_argument("--sizes", type=numbers, default="32,128,512,2048", metavar="N,M", help="training pairs")
    compare.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N-1 (default 5)")
    compare.add_argument("--test-pairs", type=int, default=1000, metavar="N", help="the first N of test (default 1000)")
    compare.add_argument("--minutes", type=float, metavar="M", help="start nothing later; the same command goes on")
    compare.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time (default 1)")
    compare.add_argument("--json", type=Path, metavar="OUT", help="write the record to this file")
    compare.add_argument("--figure", type=Path, metavar="STEM", help="write STEM-sizes.png, .svg and others")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    if options.test_pairs < 1:
        raise InputError(f"--test-pairs {options.test_pairs}: need at least 1")
    from cift import comparison, comparison_report
    from cift.corpora import load_corpus
    from cift.files import write_text

    _quiet_libraries()
    train, test = (load_corpus(options.corpus, split) for split in ("train", "test"))
    record = comparison.run(
        options.corpus,
        train,
        test.select(range(min(options.test_pairs, len(test)))),
        options.models,
        options.strategies,
        options.sizes,
        options.seeds,
        options.minutes,
        options.jobs,
    )
    print(comparison_report.headline(record))
    print(comparison_report.summary(record).to_string())
    if options.json:
        write_text(options.json, json.dumps(record, indent=1) + "\n")
        print(f"record    {options.json}")
    if options.figure and record["results"]:
        from cift import plots, plots_training

        figures = {
            "sizes": plots_training.accuracy_by_size(record)[0, 0].figure,
            "parameters": plots_training.accuracy_by_parameters(record, record["results"][-1]["size"]).figure,
            "cost": plots_training.cost(record)[0].figure,
        }
        for name, figure in figures.items():
            for path in plots.save(figure, options.figure.with_name(f"{options.figure.name}-{name}")):
                print(f"figure    {path}")
    return 0


def _notebook(options: argparse.Namespace) -> int:
    from cift import notebooks

    for name in options.names or notebooks.names():
        print(f"notebook  {notebooks.execute(name, options.profile, options.out)}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from cift import doctor

    _quiet_libraries()
    text, ok = doctor.report()
    print(text)
    return 0 if ok else 1


def _quiet_libraries() -> None:
    """One progress bar is enough: ours."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    sys.exit(main())

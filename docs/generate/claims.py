"""The tables of the page on what may be claimed, from `data/results`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

import airlens as al
from airlens.experiments.validity.planting import KINDS
from airlens.experiments.validity.rival_steps import SCORES as RIVALS
from airlens.files import read_json

from . import write_if_new
from .lookup import lookup_claims, lookup_sentences, lookup_tables
from .tables import (
    RESULTS,
    VALIDITY,
    claims_of,
    claims_table,
    counted,
    interval,
    markdown,
    source,
)

NOVEL_FOLDERS = sorted(VALIDITY.glob("novel_*"), reverse=True)  # SmolLM2 first


def planted_wide(name: str, columns: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """AUROC of real over planted steps by kind; columns: their score, mode and heads."""
    table = pd.read_csv(VALIDITY / name / "auroc.csv").fillna({"mode": "", "heads": ""})
    cells = table.assign(cell=interval(table, "auroc"))
    cells = cells.set_index(["kind", "score", "mode", "heads"])["cell"]
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    wide: dict[str, list[str]] = {"planted": [f"`{kind}`" for kind in kinds]}
    for label, place in columns.items():
        found = [cells.get((kind, *place), "") for kind in kinds]
        if any(found):
            wide[label] = found
    return pd.DataFrame(wide)


def planted_table() -> str:
    """AIS by mode, with the controls of the same layers, and what needs no ablation."""
    air = {
        f"ais {mode} {shown}": ("ais", mode, heads)
        for mode in ("uniform", "mean")
        for shown, heads in (("top", "top"), ("control", "same_layers"))
    }
    wide = planted_wide("planted", air | {name: (name, "", "") for name in ("loss", "overlap")})
    wide["planted"] = [f"{kind}: {KINDS[kind.strip('`')]}" for kind in wide["planted"]]
    return markdown(wide.rename(columns={"planted": "planted in place of a real step"}))


def novel_tables() -> str:
    """AIS of what is no copy, and the scores of rivals, a table for each model."""
    tables = [
        {
            "AIS": ("ais", "uniform", "top"),
            "*control*": ("ais", "uniform", "same_layers"),
            "novel AIS": ("ais_novel", "uniform", "top"),
            "*its control*": ("ais_novel", "uniform", "same_layers"),
        },
        {
            "novel AIS × share": ("ais_novel_share", "uniform", "top"),
            "*its control*": ("ais_novel_share", "uniform", "same_layers"),
            "share of novel tokens": ("novel", "", ""),
            "loss": ("loss", "", ""),
        },
        {name.upper(): (name, "", "") for name in RIVALS},
    ]
    parts = []
    for folder in NOVEL_FOLDERS:
        parts += [markdown(planted_wide(folder.name, columns)) for columns in tables]
        parts.append(source(folder.name))
    return "\n".join(parts)


NOVEL = "Novel AIS"
BETTER = " ones, better than random heads of the same layers do on average"


def kinds_that(
    verdict: str, ending: str = " ones", name: str = "planted", score: str = "AIS"
) -> str:
    """The kinds of planted steps of which a score (uniform) has a verdict."""
    claims = claims_of(name)
    found = claims[claims["verdict"] == verdict]["claim"]
    start = f"{score} (uniform) ranks real steps above "
    names = [c.removeprefix(start) for c in found if c.startswith(start) and c.endswith(ending)]
    return ", ".join(f"`{name.removesuffix(ending)}`" for name in names) or "none"


def novel_sentence(name: str) -> str:
    """What is decided of AIS of what is no copy."""
    model = read_json(VALIDITY / name / "provenance.json")["model"]
    above, below, better = (
        kinds_that(verdict, ending, name, NOVEL)
        for verdict, ending in (("holds", " ones"), ("fails", " ones"), ("holds", BETTER))
    )
    return (
        f"**What is no copy** ({model['name']}, {counted(claims_of(name))}): novel AIS is decided "
        f"to rank the real step above {above}, and below {below}; further above than random heads "
        f"of the same layers do on average for {better}."
    )


def verdict_sentences() -> str:
    """What is decided, one sentence for each table, filled from it."""
    from airlens.experiments.studies.arm_differences import differences_table
    from airlens.experiments.studies.study import STUDY_FILE, read_runs

    lines = [
        f"**Planted steps** ({counted(claims_of('planted'))}): AIS (uniform) is decided to rank "
        f"the real step above {kinds_that('holds')}, and below {kinds_that('fails')}; further "
        "above than random heads of the same layers do on average for "
        f"{kinds_that('holds', BETTER)}.",
        *(novel_sentence(folder.name) for folder in NOVEL_FOLDERS),
        f"**Labelled traces** ({counted(claims_of('labelled'))}), **samples** "
        f"({counted(claims_of('confounds'))}), **single heads** ({counted(claims_of('heads'))}).",
        f"**Sources** ({counted(claims_of('sources'))}), **paths** "
        f"({counted(claims_of('paths'))}), **early answers** ({counted(claims_of('answers'))}).",
    ]
    accuracy = pd.read_csv(RESULTS / "heads_off" / "accuracy.csv")
    gaps = pd.read_csv(RESULTS / "heads_off" / "differences.csv")
    answers = pd.read_csv(RESULTS / "heads_off" / "answers.csv")
    shares = []
    for n, part in accuracy.groupby("n", sort=False):
        named = part["condition"].str.replace(", mean", " (mean)", regex=False)
        texts = list(named + " " + part["accuracy"].map("{:.2f}".format))
        if "base" not in set(part["condition"]):  # that of the same problems
            own = answers.loc[answers["condition"] == part["condition"].iloc[0], "id"]
            base = answers[(answers["condition"] == "base") & answers["id"].isin(own)]
            texts.insert(0, f"base {(base['outcome'] == 'correct').mean():.2f}")
        shares.append(f"{n} problems of GSM8K: {', '.join(texts)}")
    apart = gaps[gaps["verdict"].isin(["holds", "fails"])]
    decided = "; ".join(apart["one"] + " and " + apart["other"]) or "none"
    lines.append(
        f"**Accuracy with heads off**, {'; '.join(shares)}; decided differences, on the problems "
        f"that both answered: {decided}."
    )
    lines += lookup_sentences()
    models = pd.read_csv(RESULTS / "two_models" / "claims.csv")["verdict"].value_counts()
    lines.append(
        f"**Two models**, {int(models.sum())} findings: "
        + ", ".join(f"{n} {verdict}" for verdict, n in models.items())
        + "."
    )
    runs = read_runs(al.data_path(STUDY_FILE))
    for setting in ("gsm8k-20", "gsm8k-40"):
        own = runs[(runs["setting"] == setting) & (runs["budget"] == "tokens")]
        gaps = differences_table(own, "nll", part=None)
        gaps = gaps[gaps["against"] == "random"]
        worse = gaps[gaps["decided"] & (gaps["difference"] > 0)]["arm"]
        good = gaps[gaps["decided"] & (gaps["difference"] < 0)]["arm"]
        lines.append(
            f"**Training** (`{setting}`, {len(gaps)} arms against a random selection): decided "
            f"better {'; '.join(good) or 'none'}; decided worse {'; '.join(worse) or 'none'}."
        )
    return "\n".join(f"- {line}" for line in lines) + "\n"


def sources_table(name: str, rows: str, columns: str) -> str:
    """AUROC of true sources: critical heads, random heads of the same layers, and free controls."""
    table = pd.read_csv(VALIDITY / "sources" / f"{name}.csv").query(rows)
    table = table[table["heads"].isin(["top", "same_layers"]) | table["heads"].isna()].copy()
    kind = {"top": "", "same_layers": " *(control)*"}
    table["score"] = table["score"].str.replace("_", " ") + table["heads"].map(kind).fillna("")
    table["cell"] = interval(table, "auroc")
    order = list(dict.fromkeys(table["score"]))
    wide = table.pivot(index="score", columns=columns, values="cell").fillna("")
    names = list(dict.fromkeys(table[columns]))
    return markdown(wide.loc[order, names].reset_index())


def confounds_table() -> str:
    """Spearman's ρ of the sample scores with what is known for free."""
    table = pd.read_csv(VALIDITY / "confounds" / "confounds.csv")
    table = table[table["group"].isin(["all", "within domain"])].copy()
    table["cell"] = interval(table, "rho")
    wide = table.pivot_table(
        index=["score", "mode", "group"], columns="against", values="cell", aggfunc="first"
    )
    return markdown(wide.reset_index(), left=3)


def importance_table() -> str:
    """ρ of step scores with what a sentence is worth, and what is left beyond the free ones."""
    table = pd.read_csv(VALIDITY / "labelled" / "importance.csv")
    table = table[table["mode"] == "uniform"]
    cells = table.assign(
        rho=table["rho"].map("{:.2f}".format).where(table["rho"].notna(), ""),
        beyond=interval(table, "partial", "partial_lo", "partial_hi"),
    )
    scores = sorted(table["score"].unique(), key=lambda name: name in RIVALS)  # ours first
    wide = pd.DataFrame({"score": [f"`{name}`" for name in scores]})
    for name in ("resampling", "counterfactual", "forced"):
        own = cells[cells["importance"] == f"{name}_importance_kl"].set_index("score").loc[scores]
        wide[name] = list(own["rho"])
        wide[f"{name}, beyond"] = list(own["beyond"])
    return markdown(wide)


def study_tables() -> str:
    """Held-out NLL after training on each selection, and its difference from random.

    Per setting; where an arm has three seeds, also the comparisons over seeds.
    """
    from airlens.experiments.studies.arm_differences import differences_table
    from airlens.experiments.studies.study import STUDY_FILE, read_runs

    runs = read_runs(al.data_path(STUDY_FILE))
    parts = []
    for setting, of_setting in runs.groupby("setting"):
        rows = al.study_table(of_setting)
        shown = rows.assign(
            difference=interval(rows, "difference", "difference_lo", "difference_hi", digits=3),
            nll=rows["nll"].map("{:.4f}".format),
            samples=rows["n_samples"].map("{:.0f}".format),
        )
        names = ["budget", "arm", "n_runs", "samples", "nll", "difference"]
        tested = f"{len(of_setting['problem_id'].iloc[0])} held-out problems"
        parts.append(f"Setting `{setting}`, {tested}:\n\n" + markdown(shown[names], left=2))
        gaps = differences_table(of_setting[of_setting["budget"] == "tokens"], "nll", part=None)
        gaps = gaps[gaps["p"].notna()] if len(gaps) else gaps
        if len(gaps):
            gaps["difference"] = interval(gaps, "difference", digits=3)
            gaps["difference"] += gaps["decided"].map({True: " *", False: ""})
            names = ["arm", "against", "n_seeds", "difference"]
            parts.append("Over seeds and problems:\n\n" + markdown(gaps[names], left=2))
    return "\n".join(parts)


def controlled_parts() -> dict[str, str]:
    """What each arm of the controlled study reached, against random selection, and what it took."""
    from airlens.experiments.studies.controlled_study import (
        CONTROLLED_FOLDER,
        PARTS,
        REFERENCE,
        composition_table,
        differences_table,
        results_table,
    )
    from airlens.experiments.studies.study import read_runs

    runs = read_runs(al.data_path(f"{CONTROLLED_FOLDER}/runs.parquet"))
    means = results_table(runs).pivot(index="arm", columns="part", values=["accuracy", "nll"])
    columns = [("accuracy", part) for part in PARTS] + [("nll", "same")]
    shown = means[columns].set_axis([*(f"accuracy, {PARTS[p]}" for p in PARTS), "NLL"], axis=1)
    shown = shown.sort_values(shown.columns[0], ascending=False)
    for name, measure in (("accuracy", "accuracy"), ("NLL", "nll")):
        gaps = differences_table(runs, measure)
        gaps = gaps[gaps["against"] == REFERENCE].set_index("arm")
        marked = interval(gaps, "difference") + gaps["decided"].map({True: " *", False: ""})
        shown[f"{name} minus random"] = marked.reindex(shown.index)
    shown.insert(0, "runs", runs.groupby("arm").size())
    shown = shown.fillna("").reset_index()
    took = composition_table(runs).pivot(index="arm", columns="kind", values="share")
    sizes = f"{len(runs)} runs, {runs['seed'].nunique()} seeds"
    return {
        "controlled": markdown(shown) + f"\n*`data/results/controlled_study`: {sizes}.*\n",
        "controlled_took": markdown(took.reset_index()),
    }


def heads_off_parts() -> dict[str, str]:
    """Accuracy with heads off, and the differences that the command tested together."""
    folder = RESULTS / "heads_off"
    table, gaps = (pd.read_csv(folder / f"{name}.csv") for name in ("accuracy", "differences"))
    note = read_json(folder / "provenance.json")
    shown = table.assign(
        accuracy=interval(table, "accuracy"), n_new=table["n_new"].map("{:.0f}".format)
    )
    top, shared = al.HeadSet.parse(note["heads"]["top"]), note["shared_with_top"]
    layer, most = max(((i, len(heads)) for i, heads in top.by_layer().items()), key=lambda x: x[1])
    where = (
        f"*`data/results/heads_off`: {note['file']} (SHA-256 {note['sha256'][:12]}…), the first "
        f"{note['n']} problems (n: of them), at most {note['max_new_tokens']} tokens, seed "
        f"{note['seed']}; {len(top)} heads, {most} of them of the {note['model']['n_heads']} of "
        f"layer {layer}. By the first token of an answer alone {shared['lookup']} of the "
        f"{len(top)} are found again (lookup), by the later ones {shared['continuation']}.*\n"
    )
    differences = {
        "accuracy of": gaps["one"] + " − " + gaps["other"],
        "difference": interval(gaps, "difference"),
        "n": gaps["n"],
        "p (Holm)": ["" if pd.isna(p) else f"{p:.4f}" for p in gaps["p_holm"]],
        "verdict": gaps["verdict"],
    }
    return {
        "heads_off": markdown(shown.drop(columns=["lo", "hi"]), left=2) + "\n" + where,
        "heads_off_differences": markdown(pd.DataFrame(differences)),
    }


def needle_table() -> str:
    """Share of needles found by length, for every condition that was asked."""
    table = pd.read_csv(RESULTS / "needles" / "summary.csv")
    table = table[table["depth"].isna()]
    table = table.assign(found=interval(table, "found"))
    wide = table.pivot(index=["template", "length"], columns="condition", values="found")
    columns = [name for name in ("base", "top", "same_layers", "random") if name in wide]
    return markdown(wide[columns].fillna("").reset_index(), left=2)


def detector_tables() -> dict[str, str]:
    """What ablating each detector's top heads leaves, and what more and more heads cost."""
    folder = RESULTS / "detectors"
    curves = pd.read_csv(folder / "curves.csv")
    curves = curves[curves["heads"].isin(["top", "random", "same_layers"])]
    curves = curves[curves["k"] > 0]
    names = curves["detector"].where(curves["heads"] == "top", curves["heads"])
    kept = curves.pivot_table(index=names.rename("heads"), columns="k", values="copy_accuracy")
    why = pd.read_csv(folder / "why_5.csv")
    losses = [name for name in why if name.startswith("trace_nll_")]
    base = why[why["heads"] == "base"].iloc[0]
    rise = why.assign(**{name: why[name] - base[name] for name in losses})
    rise = rise[(rise["k"] > 0) & (rise["heads"] != "bottom")]
    means = rise.groupby(["k", "heads"], sort=False)[["copy_accuracy", *losses]].mean()
    means.columns = [name.removeprefix("trace_nll_").replace("_", " ") for name in means.columns]
    return {
        "detectors": markdown(kept.sort_values(kept.columns[-1]).reset_index()),
        "why_5": markdown(means.reset_index(), left=2),
    }


def models_claims() -> str:
    """Which findings hold on every model that was compared."""
    table = pd.read_csv(RESULTS / "two_models" / "claims.csv")
    table = table.sort_values("verdict", kind="stable")
    return markdown(table[["verdict", "claim", "evidence"]], left=3)


def speed_table() -> str:
    """How many times faster, from the committed run of `make bench`."""
    table = al.figures.speed_frame(RESULTS / "bench.json")
    shown = table[["what", "ratio"]].assign(range=interval(table, "ratio"))
    return markdown(shown.drop(columns="ratio").rename(columns={"range": "ratio [range]"}))


def sources_parts() -> dict[str, str]:
    """The parts on true sources."""
    labelled = sources_table("labelled", "traces == 'all' and compared == 'all pairs'", "beyond")
    return {
        "sources_planted": sources_table("planted", "wording == 'all'", "distance"),
        "sources_labelled": labelled + "\n" + source("sources"),
        "sources_claims": claims_table("sources"),
    }


SCORES = {
    "gain": "gain",
    "gain_margin": "gain over a wrong answer",
    "direct": "direct dependence, critical heads",
    "direct_control": "direct dependence, random heads of the same layers",
    "direct_all": "direct dependence, all heads",
    "total": "total dependence, critical heads",
    "total_control": "total dependence, random heads of the same layers",
    "total_all": "total dependence, all heads",
    "ais": "AIS",
    "ais_control": "AIS, random heads of the same layers",
    "loss": "loss",
    "overlap": "overlap with the question",
    "position": "position",
}


def needed_table() -> str:
    """AUROC of steps that the answer needs over others, by kind of the others."""
    table = pd.read_csv(VALIDITY / "answers" / "needed.csv").fillna({"forcing": ""})
    table = table[table["score"].isin(SCORES)].assign(cell=interval(table, "auroc"))
    names = table["score"].map(SCORES)
    forcings = zip(names, table["forcing"], strict=True)
    table["measure"] = [f"{name} ({text})" if text else name for name, text in forcings]
    table["order"] = table["score"].map(list(SCORES).index)
    wide = table.pivot_table(
        index=["order", "measure"], columns="kind", values="cell", aggfunc="first", sort=False
    )
    n = table.groupby("kind")["n"].max()
    wide = wide.rename(columns={kind: f"{kind}, n = {n[kind]}" for kind in wide})
    return markdown(wide.sort_index(level=0, sort_remaining=False).reset_index("measure"))


def paths_table() -> str:
    """Share of planted chains that are followed, by length."""
    table = pd.read_csv(VALIDITY / "paths" / "paths.csv").fillna({"heads": ""})
    words = {"top": "critical heads", "same_layers": "random heads of the same layers"}
    words |= {"random": "random heads", "": ""}
    by = zip(table["heads"], table["score"], strict=True)
    who = [words[heads] or f"rule: {score}" for heads, score in by]
    wide = table.assign(who=who)[["length", "who"]]
    for name, value in (("whole chain", "recovered"), ("first hop", "first")):
        wide[name] = interval(table, value, f"{value}_lo", f"{value}_hi")
    return markdown(wide.rename(columns={"length": "hops", "who": "followed by"}))


def write(folder: Path) -> None:
    """Write each table as a part that `claims.md` includes."""
    parts = {
        "verdicts": verdict_sentences(),
        "planted": planted_table() + "\n" + source("planted"),
        "planted_claims": claims_table("planted", ["AIS (uniform)"]),
        "planted_all": claims_table("planted"),
        "novel": novel_tables(),
        "labelled_claims": claims_table("labelled", ["(uniform)"]) + "\n" + source("labelled"),
        "labelled_all": claims_table("labelled"),
        "labelled_importance": importance_table() + "\n" + source("labelled"),
        "confounds": confounds_table() + "\n" + source("confounds"),
        **heads_off_parts(),
        "lookup": lookup_tables(),
        "lookup_claims": lookup_claims(),
        "heads_claims": claims_table("heads") + "\n" + source("heads"),
        **sources_parts(),
        "answers_needed": needed_table() + "\n" + source("answers"),
        "answers_claims": claims_table("answers"),
        "paths": paths_table() + "\n" + source("paths"),
        "paths_claims": claims_table("paths"),
        "study": study_tables(),
        **controlled_parts(),
        "models": models_claims(),
        "needles": needle_table(),
        **detector_tables(),
        "speed": speed_table(),
    }
    for name, text in parts.items():
        write_if_new(folder / "parts" / f"{name}.md", text)

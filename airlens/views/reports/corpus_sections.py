"""The sections of the report of a scored corpus: figures, and sentences about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.corpus.run_folder import RunFolder
from airlens.selection import contrast
from airlens.selection.overlap import RANDOM_SEEDS, overlap
from airlens.selection.select import Selection, select
from airlens.views.figures.corpus_samples import (
    NAMES,
    cluster_bars,
    correlation_forest,
    lengths_by_selector,
    sample_map,
    word_overlap_map,
)
from airlens.views.figures.labels import SHORT, number, percent
from airlens.views.figures.selected_samples import (
    ais_by_domain,
    domain_counts,
    selection_scatter,
    selector_overlap,
)

from .html_page import Report
from .sample_views import map_frame, step_html

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TABLE_ROWS = 200
_TABLE = ["id", "domain", "n_tokens", "loss_base", "ais", "ais_control", "delta", "selected"]
# Those of the samples that the sections show or compare with.
COLUMNS = ("below_floor", *contrast.AGAINST, *_TABLE[:-1])
_LENGTHS = {
    "selected": "taken",
    "not_selected": "left",
    "ratio": "taken / left",
    "lo": "lowest draw",
    "hi": "highest draw",
}


@dataclass(frozen=True)
class Sections:
    """Writes the page about one selection from one folder, section by section."""

    page: Report
    run: RunFolder
    chosen: Selection
    by: str
    top: float | int
    within: str | None
    seed: int
    few: Any  # index of the samples that are drawn as points

    @property
    def samples(self) -> pd.DataFrame:
        """All samples, with the column ``selected``."""
        return self.chosen.samples

    @property
    def drawn(self) -> pd.DataFrame:
        """The samples that are drawn as points, with the column ``selected``."""
        few: pd.DataFrame = self.samples.loc[self.few]
        return few

    @property
    def column(self) -> str:
        """The column that holds the selector's value."""
        return self.by if self.by in self.samples else "selector"

    @property
    def name(self) -> str:
        """Name of the selector in sentences."""
        return SHORT.get(self.by, self.by)

    def facts(self, manifest: dict[str, Any]) -> None:
        """Key numbers of the scored corpus, and the definition of the score."""
        self.page.add_section("What was scored")
        samples = self.samples
        facts = {
            "samples": len(samples),
            "domains": samples["domain"].nunique(),
            "response tokens": int(samples["n_tokens"].sum()),
            "chosen": len(self.chosen.ids),
            "rows rejected": manifest.get("rejects", 0),
            "below the loss floor": int(samples["below_floor"].sum()),
        }
        if facts["domains"] == 1:
            del facts["domains"]
        self.page.add_facts({name: f"{value:,}" for name, value in facts.items()})
        settings = manifest.get("identity", {})
        model = manifest.get("provenance", {}).get("model", {}).get("name", "")
        self.page.add_text(
            f"AIS is how much the mean token loss of a response grows, as a share of it, when "
            f"{len(settings.get('heads', []))} heads of `{model}` are ablated "
            f"(mode `{settings.get('mode', '')}`). It favours texts that repeat themselves, and a "
            "ratio is large where the base loss is small: look at the baselines beside it."
        )

    def notes(self, notes: Sequence[str]) -> None:
        """Sentences on rows that are not among these, and on where the choice is not as asked."""
        for note in notes:
            self.page.add_text(f"Note: {note}.")

    def scores(self) -> None:
        """The distribution of the score by domain, beside random heads."""
        samples, drawn = self.samples, self.drawn
        several = samples["domain"].nunique() > 1
        self.page.add_section("Scores by domain" if several else "Scores")
        control = bool(samples["ais_control"].notna().any())
        title = None
        if not several:
            title = f"Median AIS: {number(float(samples['ais'].median()))}"
            if control:
                title += f"; of random heads: {number(float(samples['ais_control'].median()))}"
        self.page.add_figure(ais_by_domain(drawn, title=title))
        if control:
            known = samples[samples["ais"].notna() & samples["ais_control"].notna()]
            above = float((known["ais"] > known["ais_control"]).mean())
            self.page.add_text(
                f"The critical heads cost {percent(above)} of the samples more than as many random "
                "heads of the same layers do. What is theirs is the distance between the boxes."
            )
        if several:
            self.page.add_figure(domain_counts(samples))

    def simpler(self) -> None:
        """Correlations with length, loss, entropy and random heads."""
        self.page.add_section("Is it something simpler?")
        drawn = self.drawn
        table = contrast.correlations(drawn, self.by, within=self.within, seed=self.seed)
        self.page.add_figure(correlation_forest(table, self.by))
        said = "; ".join(
            f"with {NAMES[str(row.column)]} **{_interval(row)}**"
            for row in table[(table["scope"] == "overall") & table["rho"].notna()].itertuples()
        )
        if said:
            self.page.add_text(
                f"Spearman's ρ of {self.name}, with its 95 % interval: {said}. Where an interval "
                "holds 0 nothing is shown to go together; near 1 or −1 the cheaper value gives the "
                "same order."
            )
        self.page.add_figure(
            selection_scatter(drawn, "loss_base", self.column),
            "AIS divides by the base loss: where that is low, a small rise is a large share of it.",
        )

    def lengths(self) -> None:
        """Length of the chosen, and the length-matched choice (AttentionInfluence, Table 3)."""
        self.page.add_section("Is it length?")
        matched = select(
            *(self.samples, self.by, self.top),
            within=self.within,
            seed=self.seed,
            length_matched=True,
        )
        means = [
            number(float(frame["n_tokens"].mean()))
            for frame in (self.samples, self.chosen.chosen, matched.chosen)
        ]
        self.page.add_figure(selection_scatter(self.drawn, "n_tokens", self.column))
        self.page.add_text(
            f"The mean length of all is {means[0]} tokens, of the chosen {means[1]}. "
            "*Length-matched* takes the same share of each tenth of the lengths: mean "
            f"{means[2]} tokens, and {percent(_common(self.chosen, matched))} of the plain choice."
        )
        title = "The length-matched choice"
        few = matched.samples.loc[self.few]
        self.page.add_figure(selection_scatter(few, "n_tokens", self.column, title=title))
        table = contrast.length_table(
            self.samples, top=self.top, within=self.within, seed=self.seed
        )
        self.page.add_figure(lengths_by_selector(table))
        if table["domain"].nunique() == 1:
            table = table.drop(columns="domain")
        self.page.add_table(
            table,
            "Mean response tokens of what each selector takes and leaves. `random` is the mean of "
            f"{RANDOM_SEEDS} draws: what lies between its lowest and highest is chance.",
            names=_LENGTHS,
        )

    def overlaps(self) -> None:
        """Overlap of the selections of all selectors."""
        self.page.add_section("Overlap of selectors")
        selectors = contrast.usable_selectors(self.samples)
        tops, options = contrast.TOPS, {"within": self.within, "seed": self.seed}
        table = overlap(self.samples, selectors, tops, **options)  # type: ignore[arg-type]
        for top in tops:
            title = f"What is shared at top {percent(top)}"
            self.page.add_figure(selector_overlap(table, top, title=title))
            self.page.add_text(_shared_text(table[table["top"] == top].set_index(["a", "b"])))

    def words(self, texts: pd.Series) -> None:
        """Overlap of their characteristic words (AttentionInfluence, Table 4)."""
        self.page.add_section("Words")
        table = contrast.word_overlap(
            self.drawn, texts, self.by, within=self.within, seed=self.seed
        )
        title = f"Top words that {self.name} shares with others"
        self.page.add_figure(word_overlap_map(table, title=title))
        self.page.add_text(
            "How many of the 100 weightiest words of one choice are among those of the other "
            "(AttentionInfluence, Table 4). Two choices can share words and not a single sample: "
            "read it beside `random`, which shares what any samples of this corpus would."
        )

    def map(self, texts: pd.Series, model: TransformerBridge, progress: bool) -> None:
        """The chosen samples on the map of all (AttentionInfluence, Fig. 4 to 6)."""
        self.page.add_section("Where the chosen lie")
        few = replace(self.chosen, samples=self.drawn)
        frame = map_frame(few, texts, model, seed=self.seed, progress=progress)
        self.page.add_figure(
            sample_map(frame),
            "Where green points spread as the grey ones do, the choice takes all kinds; where they "
            "gather, it takes a kind.",
        )
        shares = contrast.cluster_shares(frame, frame.set_index("id")["selected"])
        shares["words"] = shares["cluster"].map(contrast.cluster_words(frame))
        self.page.add_figure(cluster_bars(shares))
        self.page.add_text(
            "Each response is the mean of the model's own residual stream in the middle of its "
            "layers; axes are the first two principal components, clusters are found by k-means in "
            "the first 20."
        )

    def texts(self, shown: int) -> None:
        """The highest, the lowest and the most disputed samples."""
        self.page.add_section("Samples to read")
        against = "loss" if self.by != "loss" else "length"
        telling = contrast.telling_samples(self.samples, self.by, against, shown)
        ids = set(telling["id"])
        steps = self.run.some("steps", ids) if self.run.has("steps") else None
        texts = self.run.some("rows", ids).set_index("id")
        values = self.samples[self.samples["id"].isin(ids)].set_index("id")
        for why, part in telling.groupby("why", sort=False):
            self.page.add_text(f"### {str(why).capitalize()}")
            for name in part["id"]:
                row = values.loc[name]
                self.page.add_text(
                    f"`{name}` · AIS {number(row['ais'])} "
                    f"(random heads {number(row['ais_control'])}) · base loss "
                    f"{number(row['loss_base'])} nats · {int(row['n_tokens'])} tokens"
                )
                self.page.add_quote(str(texts.loc[name, "prompt"])[:600])
                self.page.add_html(step_html(texts.loc[name], steps, str(name)))

    def table(self) -> None:
        """All samples, best first."""
        self.page.add_section("All samples")
        frame = self.samples.sort_values("selector", ascending=False, kind="stable")
        one = frame["domain"].nunique() < 2
        columns = [c for c in _TABLE if c in frame and not (one and c == "domain")]
        self.page.add_table(
            frame[columns],
            "Best first; a click on a heading sorts.",
            bars=("ais",),
            rows=TABLE_ROWS,
        )


def _interval(row: Any) -> str:
    return f"{number(row.rho, 2)} [{number(row.lo, 2)}, {number(row.hi, 2)}]"


def _common(a: Selection, b: Selection) -> float:
    return len(set(a.ids) & set(b.ids)) / max(1, len(a.ids))


def _shared_text(pairs: pd.DataFrame) -> str:
    """Overlap of AIS with the other selectors, beside the overlap of random choices."""
    shares: dict[Any, Any] = pairs.to_dict("index")
    chance = shares["random", "random"]
    text = (
        f"Chance: two random choices share {number(chance['jaccard'], 2)} "
        f"({RANDOM_SEEDS} draws, {number(chance['lo'], 2)} to {number(chance['hi'], 2)})."
    )
    near = sorted(
        (row["jaccard"], b) for (a, b), row in shares.items() if a == "ais" != b and b != "random"
    )
    if not near:
        return text
    (low, least), (high, most) = near[0], near[-1]
    return (
        f"AIS shares most with `{most}` ({number(high, 2)}), least with `{least}` "
        f"({number(low, 2)}). {text}"
    )

"""The report's figures as PNG: Okabe–Ito colours, and marker, line and hatching say the same without them.

Nothing of the machine is in the bytes but the versions of matplotlib and its font: no date, no settings of
the user, no display.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.evidence.abstention import Certificate
from coherence_ft.evidence.estimate import Missing
from coherence_ft.evidence.reliability import ReliabilityBin
from coherence_ft.manifest.files import printable
from coherence_ft.reporting.summaries import Cell, Whole
from coherence_ft.reporting.words import bound_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.4  # inches: A4 less its margins
_DPI = 160
_COLUMNS = 3
_BINS = 20  # of a histogram
_LONGEST = 28  # characters of a panel's title
_INK = "#1a1a1a"
_DASHES = ("-.", (0, (8, 2)), (0, (2, 2)), (0, (8, 2, 2, 2, 2, 2)))
_SETTINGS = {
    "text.parse_math": False,  # a `$` in a name is a `$`
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True, slots=True)
class _Style:
    colour: str
    marker: str
    line: str
    fill: str  # of the marker


_OURS = _Style("#0072B2", "o", "-", "#0072B2")
_BASE = _Style("#D55E00", "s", "--", "white")


def _style(name: str) -> _Style:
    return _BASE if name == "base" else _OURS


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(), catch_warnings():
        simplefilter("ignore")  # a glyph that the font lacks is drawn as a box, and the page has the name
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _png(draw: Callable[..., Figure]) -> Callable[..., bytes]:
    @wraps(draw)
    def drawn(*arguments: Any) -> bytes:
        with _drawing():
            content = BytesIO()
            draw(*arguments).savefig(content, dpi=_DPI, format="png", metadata={"Software": None})
            return content.getvalue()

    return drawn


@_png
def reliability(models: Sequence[Whole]) -> Figure:
    """The base's diagram beside ours, each over the histogram of its confidence."""
    from matplotlib.figure import Figure

    models = models[::-1]
    figure = Figure(figsize=(_WIDTH, 5.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1.1))
    for column in range(len(models), axes.shape[1]):
        for unused in axes[:, column]:
            unused.remove()
    for (diagram, histogram), model in zip(axes.T, models, strict=False):
        _identity(diagram)
        _expected(diagram, model.summary.bins)
        _observed(diagram, model.summary.bins, _style(model.name), "observed, with limits")
        diagram.set_title(f"{model.name}, n = {model.summary.answers}", fontweight="bold")
        diagram.legend(loc="upper left")
        diagram.set_aspect("equal")
        _histogram(histogram, model)
        histogram.set_xlabel("calibrated confidence")
    axes[0, 0].set_ylabel("share of right answers")
    axes[1, 0].set_ylabel("answers")
    return figure


@_png
def cells(drawn: Sequence[Cell]) -> Figure:
    """Small multiples, at most three in a row, all on the same axes."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(drawn) // _COLUMNS)
    figure = Figure(figsize=(_WIDTH, 2.95 * rows + 0.6), layout=ConstrainedLayoutEngine(h_pad=0.1))
    axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for unused in axes[len(drawn) :]:
        unused.remove()
    for panel, cell in zip(axes, drawn, strict=False):
        _identity(panel)
        if cell.base is not None:
            _observed(panel, cell.base.bins, _BASE, "base")
        _observed(panel, cell.ours.bins, _OURS, "derivative" if cell.base else "model")
        panel.set_title(f"{_short(cell.name)}\nn = {cell.ours.answers}")
        panel.set_aspect("equal")
        panel.tick_params(labelbottom=True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.supxlabel("calibrated confidence", fontsize=9)
    figure.supylabel("share of right answers", fontsize=9)
    return figure


@_png
def risk_coverage(
    models: Sequence[Whole], promises: Sequence[Constraint], certificate: Certificate | None, coverage: float
) -> Figure:
    """Risk at each coverage, the bounds that are promised and what was certified.

    `coverage`: share of the judged questions at or above the certified threshold.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    highest = max([constraint.bound for constraint in promises], default=0.0)
    for model in models[::-1]:
        if isinstance(model.curve, Missing):
            continue
        style = _style(model.name)
        share = [at for _, at, _ in model.curve.curve]
        risk = [seen.value for _, _, seen in model.curve.curve]
        limit = [seen.upper for _, _, seen in model.curve.curve]
        axes.plot(
            share,
            risk,
            style.line,
            color=style.colour,
            marker=style.marker,
            markerfacecolor=style.fill,
            markersize=4,
            label=f"{model.name}: risk",
        )
        axes.plot(share, limit, ":", color=style.colour, linewidth=1)
        axes.fill_between(share, risk, limit, color=style.colour, alpha=0.12, linewidth=0)
        highest = max(highest, *risk, *(high for at, high in zip(share, limit, strict=True) if at >= 0.15))
    for constraint, line in zip(promises, cycle(_DASHES), strict=False):
        label = f"promised: {printable(constraint.id)} {bound_text(constraint)}"
        start = constraint.coverage if constraint.coverage is not None else 1.0
        axes.plot((start, 1), (constraint.bound,) * 2, linestyle=line, color=_INK, linewidth=1.2, label=label)
        axes.plot(start, constraint.bound, "|", color=_INK, markersize=9)
    if certificate is not None:
        risk_there = certificate.risk
        axes.errorbar(
            coverage,
            risk_there.value,
            yerr=[[0.0], [risk_there.upper - risk_there.value]],
            fmt="*",
            color=_INK,
            markersize=13,
            capsize=4,
            zorder=5,
            label=f"certified: confidence of {certificate.threshold:.3f} or more",
        )
    axes.set(xlim=(0, 1.01), ylim=(0, min(1.02, 1.1 * highest + 0.01)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel("coverage: share of questions answered")
    axes.set_ylabel("risk: share of wrong answers among them")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def alt_reliability(models: Sequence[Whole]) -> str:
    """What the diagrams show, for who does not see them."""
    parts = ["Reliability diagrams over histograms of confidence."]
    for model in models:
        bins = model.summary.bins
        inside = sum(b.consistent_low <= b.share.value <= b.consistent_high for b in bins)
        parts.append(
            f"{model.name.capitalize()}: in {inside} of {len(bins)} bins the share of right answers is where "
            "a calibrated model's would be."
        )
    return " ".join(parts)


def alt_risk(models: Sequence[Whole], certificate: Certificate | None) -> str:
    """What the risk-coverage curves show, for who does not see them."""
    parts = ["Risk-coverage curves."]
    for model in models:
        if not isinstance(model.curve, Missing):
            _, _, half = min(model.curve.curve, key=lambda point: abs(point[1] - 0.5))
            full = model.curve.curve[-1][2]
            parts.append(
                f"{model.name.capitalize()}: {full.value:.1%} are wrong when all are answered, "
                f"{half.value:.1%} when about half are."
            )
    if certificate is not None:
        most, least = certificate.risk.upper, certificate.threshold
        parts.append(f"Certified: at most {most:.1%} from a confidence of {least:.3f}.")
    return " ".join(parts)


def _identity(axes: Axes) -> None:
    axes.plot((0, 1), (0, 1), ":", color="#767676", linewidth=1, zorder=1)
    axes.set(
        xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.25, 0.5, 0.75, 1), yticks=(0, 0.25, 0.5, 0.75, 1)
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")


def _expected(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    axes.vlines(
        [b.stated for b in bins],
        [b.consistent_low for b in bins],
        [b.consistent_high for b in bins],
        color="#bdbdbd",
        linewidth=5,
        zorder=2,
        label="if calibrated",
    )


def _observed(axes: Axes, bins: Sequence[ReliabilityBin], style: _Style, label: str) -> None:
    axes.errorbar(
        [b.stated for b in bins],
        [b.share.value for b in bins],
        yerr=[[b.share.value - b.share.lower for b in bins], [b.share.upper - b.share.value for b in bins]],
        fmt=style.marker + style.line,
        color=style.colour,
        markerfacecolor=style.fill,
        markersize=4.5,
        linewidth=1.1,
        elinewidth=0.9,
        capsize=2,
        zorder=3,
        label=label,
    )


def _histogram(axes: Axes, model: Whole) -> None:
    style, summary = _style(model.name), model.summary
    axes.hist(
        [summary.forecast[summary.right], summary.forecast[~summary.right]],
        bins=_BINS,
        range=(0, 1),
        stacked=True,
        color=[style.colour, "white"],
        edgecolor=style.colour,
        linewidth=0.7,
        hatch=["", "////"],
        label=["right", "wrong"],
    )
    axes.legend(loc="upper left")


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"

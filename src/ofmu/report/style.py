"""One look for all figures: colours that colour-blind people tell apart, quiet axes, themed SVG."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from ofmu.errors import UserError
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN
from ofmu.report.summary import is_ofmu

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, BACK = "#1d232b", "#606a76", "#d9dee4", "#ffffff"
# Okabe and Ito's colours, the lighter ones darkened until they have contrast on white.
OFMU_COLOUR, RETRAIN_COLOUR, ORIGINAL_COLOUR, FLOOR_COLOUR = "#0067b1", "#3a424c", "#8a929c", "#6d7681"
OTHERS = ("#c4500a", "#0a8060", "#a8568a", "#977000", "#2f8fbf", "#7a4f9e")
COMMON = {"graddiff": 0, "npo": 1, "simnpo": 2, "finetune": 3, "partial": 4, "gradientascent": 5}
MARKERS = ("s", "^", "D", "v", "P", "X")
# The same roles on a dark page; the page's style sheet defines the variables from this table.
DARK = {
    INK: "#e6e9ed", MUTED: "#9aa4b0", LINE: "#343b44", BACK: "#15181d",
    OFMU_COLOUR: "#58b0f2", RETRAIN_COLOUR: "#cfd5dc", ORIGINAL_COLOUR: "#7d8792", FLOOR_COLOUR: "#a3acb7",
    OTHERS[0]: "#f28a4b", OTHERS[1]: "#3fc49d", OTHERS[2]: "#dd93c2", OTHERS[3]: "#d9b23c",
    OTHERS[4]: "#7cc6ea", OTHERS[5]: "#b795dd",
}  # fmt: skip
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', Arial, sans-serif"


Style = tuple[str, str]  # colour and marker
Stroke = Literal["-", "--", ":", "-."]


def colours(methods: Sequence[str]) -> dict[str, Style]:
    """Colour and marker by method: fixed for references, OFMU and common baselines, the rest by their name.

    Two methods get the same only where there are more than OTHERS has.
    """
    fixed = {ORIGINAL: (ORIGINAL_COLOUR, "o"), RETRAIN: (RETRAIN_COLOUR, "o"), FLOOR: (FLOOR_COLOUR, "o")}
    styles = {method: fixed[method] for method in methods if method in fixed}
    styles |= {method: (OFMU_COLOUR, "o") for method in methods if is_ofmu(method)}
    taken: list[int] = []
    for method in sorted({m for m in methods if m not in styles}, key=lambda m: (_common(m) is None, m)):
        if len(taken) == len(OTHERS):
            taken = []
        first = _common(method)
        start = crc32(method.encode()) if first is None else first
        slots = (slot % len(OTHERS) for slot in range(start, start + len(OTHERS)))
        slot = next(slot for slot in slots if slot not in taken)
        taken.append(slot)
        styles[method] = OTHERS[slot], MARKERS[slot]
    return styles


def _common(method: str) -> int | None:
    """The place in OTHERS of a common baseline."""
    key = re.sub(r"[^a-z]", "", method.lower())
    return next((slot for start, slot in COMMON.items() if key.startswith(start)), None)


@contextmanager
def figure(width: float, height: float, name: str) -> Iterator[Figure]:
    """A new figure, in inches, outside pyplot's global state; `name` makes its SVG ids repeatable.

    Raises UserError where matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError('plots need matplotlib, which is not installed: pip install "ofmu[report]"') from error
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans"], "font.size": 8.5, "text.parse_math": False,
        "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": LINE, "xtick.color": MUTED,
        "ytick.color": MUTED, "axes.facecolor": "none", "figure.facecolor": "none", "svg.fonttype": "none",
        "svg.hashsalt": name, "axes.titlesize": 9.5, "axes.titlelocation": "left", "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A script that the plot font lacks still reads well: SVG text is drawn with the reader's own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        yield made


def spread_out(made: Figure) -> None:
    """Room between panels, so that the last number of one axis keeps clear of the next one's first."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = made.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(wspace=0.07, hspace=0.06, w_pad=0.06, h_pad=0.06)


def legend(
    made: Figure,
    names: Sequence[str],
    styles: Mapping[str, Style],
    across: int,
    strokes: Mapping[str, Stroke] | None = None,
) -> None:
    """One legend above all panels: a line with its marker for each name, at most `across` beside each other.

    strokes: matplotlib's line styles by name; None: solid lines.
    """
    from matplotlib.lines import Line2D

    lines = [
        Line2D(
            [],
            [],
            color=styles[name][0],
            marker=styles[name][1],
            markersize=4,
            linewidth=1.6,
            linestyle=(strokes or {}).get(name, "-"),
        )
        for name in names
    ]
    made.legend(lines, names, loc="outside upper left", ncols=min(across, len(names)), borderaxespad=0.2)


def quiet(axes: Axes, grid: str = "x") -> None:
    """Only what helps reading: no frame, no tick marks, thin lines along one direction."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, which="both")
    axes.grid(axis="x" if grid == "x" else "y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def to_svg(made: Figure, name: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element with an accessible title, ids of its own, and the page's colours."""
    buffer = StringIO()
    made.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg).replace("xlink:href", "href")
    svg = re.sub(r' style="[^"]*"', lambda found: _themed(found.group()), svg)
    head = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    opening = f'<svg role="img" aria-labelledby="{name}-title {name}-desc" font-family="{SANS}"'
    box = re.search(r'viewBox="[^"]*"', svg)
    return f"{opening} {box.group() if box else ''}>{head}{svg[svg.index('>') + 1 :]}"


def _themed(style: str) -> str:
    """Colours as the page's variables (with themselves for a reader without), fonts as the whole figure's."""
    style = re.sub(r"#[0-9a-f]{6}\b", lambda c: variable(c.group()) if c.group() in DARK else c.group(), style)
    return re.sub(r" font-family: [^;\"]*;?", "", style)


def variable(colour: str) -> str:
    """The CSS expression for one of our colours."""
    return f"var(--x{colour[1:]}, {colour})"


def to_png(made: Figure, path: Path, dots_per_inch: int = 200) -> Path:
    """Write the figure on white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, format="png", dpi=dots_per_inch, facecolor=BACK)
    return path

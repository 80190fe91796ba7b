"""Curves of quality against seconds, of several photographs, as medians and as a picture."""

from pathlib import Path

Curve = list[dict[str, float | None]]  # what was measured of a search, in the order of time
Drawn = list[tuple[float, float]]  # seconds, median over photographs


def quartiles(values: list[float | None]) -> list[float] | None:
    """First quartile, median and third, of what there is."""
    from inversion.metrics import quantile

    ordered = sorted(value for value in values if value is not None)
    return [float(quantile(ordered, q) or 0.0) for q in (0.25, 0.5, 0.75)] if ordered else None


def value_at(curve: Curve, key: str, seconds: float) -> float | None:
    """The last value that a search had by then; None before its first."""
    known = [point[key] for point in curve if (point["seconds"] or 0.0) <= seconds and point[key] is not None]
    return known[-1] if known else None


def first_at(curve: Curve, key: str, wanted: float) -> float | None:
    """The time at which a value was first no larger than what is wanted; None where it never was."""
    there = [point["seconds"] for point in curve if (value := point[key]) is not None and value <= wanted]
    return there[0] if there else None


def curves(found: dict[str, list[Curve]], key: str) -> dict[str, Drawn]:
    """The median of each recipe at every time at which one of its photographs was measured, once all have begun."""
    drawn: dict[str, Drawn] = {}
    for name, of_photos in found.items():
        times = sorted({point["seconds"] or 0.0 for curve in of_photos for point in curve})
        drawn[name] = []
        for seconds in times:
            values = [value_at(curve, key, seconds) for curve in of_photos]
            middle = quartiles(values)
            if middle is not None and None not in values:
                drawn[name].append((seconds, middle[1]))
    return drawn


def at(drawn: Drawn, seconds: float) -> float | None:
    """The value of a curve at a time; None before its first."""
    known = [value for then, value in drawn if then <= seconds]
    return known[-1] if known else None


def write_figure(path: Path, title: str, found: dict[str, list[Curve]]) -> None:
    """PSNR and identity against seconds, a curve a recipe."""
    from inversion.figure import new_figure

    figure = new_figure(figsize=(9, 3.6), layout="constrained")
    for place, (key, label) in enumerate((("psnr_db", "PSNR, dB"), ("identity", "identity distance"))):
        axes = figure.add_subplot(1, 2, place + 1)
        for name, drawn in curves(found, key).items():
            axes.plot(*zip(*drawn, strict=True), label=name) if drawn else None
        axes.set(xscale="log", xlabel="seconds", ylabel=label, title=title if place == 0 else "")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)

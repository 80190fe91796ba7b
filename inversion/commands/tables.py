"""Lines and tables for the eye: of objectives, inversions and measures."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from inversion.commands.process import printable
from inversion.commands.terminal import one_line
from inversion.measures.config import MODEL_CONVENTIONS

WIDTH = 118  # characters a line of a convention
FIGURES = {
    "pictures": "{} pictures",
    "samples": "{} samples",
    "pairs": "{} pairs",
    "psnr_db": "PSNR {:.2f} dB",
    "identity": "identity {:.3f}",
    "same_person": "under 0.6 {:.1%}",
    "ms": "{:.0f} ms",
    "face_rate": "face {:.1%}",
    "identity_between": "identity between {:.3f}",
    "laplacian_energy": "Laplacian energy {:.5f}",
    "laplacian_ratio": "Laplacian ratio {:.3f}",
    "laplacian_to_training": "to training {:.3f}",
    "sharpness": "sharpness {:.3f}",
    "frechet": "Fréchet {:.4f}",
    "path_length": "path length {:.2f}",
    "nearest_median": "median {:.3f}",
    "nearest_least": "least {:.3f}",
    "held_out_median": "held out {:.3f}",
    "held_out_least": "least {:.3f}",
    "strangers_median": "random {:.3f}",
    "nearer_than_tenth": "nearer {:.1%}",
}

COLUMNS = {  # of the table: measure -> head, format
    "numbers": ("numbers", "d"),
    "mse": ("MSE", ".4f"),
    "psnr_db": ("PSNR dB", ".2f"),
    "step_mean": ("step", ".4f"),
    "step_worst": ("worst", ".4f"),
    "worst_to_mean": ("worst/mean", ".3f"),
    "detour": ("detour", ".3f"),
    "between": ("between", ".1%"),
    "completeness": ("complete", ".1%"),
    "coverage": ("coverage", ".1%"),
    "nearest_label": ("1-NN", ".1%"),
    "same_label": ("same label", ".1%"),
    "trustworthiness": ("trust", ".3f"),
}


def objective_line(weights: Mapping[str, float]) -> str:
    """The terms of an objective, and the networks that they look through."""
    names = [name for name, weight in weights.items() if weight]
    nets = [name for name in names if name.startswith("lpips")]
    features = ["the model's discriminator"] * ("features" in names) + nets
    terms = " ".join(f"{name}={weights[name]:g}" for name in names)
    return f"objective: {terms} (features: {', '.join(features) or 'none'}{'' if nets else '; LPIPS not needed'})"


def record_line(record: Mapping[str, Any]) -> str:
    """The record of a photograph that was inverted, or what was wrong with it."""
    if "error" in record:
        why, name = one_line(record["error"]), one_line(record["file"])
        return f"error: {why}" if name in why else f"error: {name}: {why}"
    identity = "-" if record["identity"] is None else f"{record['identity']:.2f}"
    measures = f"PSNR {record['psnr_db']:5.2f} dB  SSIM {record['ssim']:5.3f}  identity {identity:>4}"
    name, latent = printable(record["file"]), printable(record.get("latent", ""))
    return f"{name:<24}  {measures}  {record['seconds']:6.2f} s  {latent}".rstrip()


def summary_table(summary: Mapping[str, Any]) -> str:
    """A summary of reconstructions (`reconstruction.summarize`) as an aligned table."""
    rows = [f"{'':<8}{'PSNR dB':>9}{'SSIM':>9}{'identity':>9}{'percept.':>9}{'landm.':>9}{'seconds':>9}"]
    for name in ("median", "p10", "p90"):
        values = [summary[name][key] for key in ("psnr_db", "ssim", "identity", "perceptual", "landmarks", "seconds")]
        rows.append(f"{name:<8}" + "".join(f"{'-' if v is None else f'{v:.3f}':>9}" for v in values))
    same = "-" if summary["same_person"] is None else f"{summary['same_person']:.1%}"
    of = f"{summary['faces']} faces; {summary['n']} pictures, {summary['failed']} of them failed"
    return "\n".join([*rows, f"same person (identity under 0.6): {same} of {of}"])


def space_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Several models' `measure_space` as an aligned table; `conventions` says what it means."""
    shown = {key: one for key, one in COLUMNS.items() if any(record[key] is not None for record in records)}
    rows = [["model", *(head for head, _ in shown.values())]]
    for record in records:
        cells = ("-" if record[key] is None else format(record[key], how) for key, (_, how) in shown.items())
        rows.append([record["model"], *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(lines)


def quality_line(record: Mapping[str, Any], previous: str | None = None) -> str:
    """A record of `measure_model` as a line; under its convention, unless the previous line was of the same measure."""
    told = [text.format(record[name]) for name, text in FIGURES.items() if record.get(name) is not None]
    told += [f"no {name}: {why}" for name, why in record["missing"].items()]
    told += [f"{record['failed']} failed"] if record.get("failed") else []
    line = f"  {record['setting']:<34}{'  '.join(told)}"
    measure = record["measure"]
    convention = fill(f"{measure.replace('_', ' ')}: {MODEL_CONVENTIONS[measure]}", WIDTH)
    return line if measure == previous else f"{convention}\n{line}"


def effect_record(direction: Any, effect: Any) -> dict[str, Any]:
    """All that was measured of a direction, as JSON values."""
    steps = [
        {"strength": step.strength, "faces": step.found, "identity": step.identity if step.found else None}
        for step in effect.steps
    ]
    told = {"name": direction.name, "faces": effect.faces, "effects": dict(direction.effects)}
    told |= {"undone": direction.made["undone"]} if "undone" in direction.made else {}
    return {**told, "safe": list(direction.safe), "same_person": {"1": effect.same_person(1.0)}, "steps": steps}


def effects_table(effects: Sequence[Any]) -> str:
    """The effects of directions a standard deviation of w, an attribute a row and a direction a column."""
    names = list(effects[0].effects)
    rows = [["", *(effect.name for effect in effects)]]
    rows += [[name, *(f"{effect.effects[name]:+.3g}" for effect in effects)] for name in names]
    for s in (1.0, 2.0):
        rows.append([f"identity at {s:g}", *(f"{effect.identity(s):.2f}" for effect in effects)])
    rows.append(["same person at 1", *(f"{effect.same_person(1.0):.0%}" for effect in effects)])
    rows.append(["safe", *("{:+g} to {:+g}".format(*effect.safe) for effect in effects)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)

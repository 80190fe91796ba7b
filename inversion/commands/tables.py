"""What an inversion, an evaluation and an objective say for themselves: as JSON, and as lines for the eye."""

from collections.abc import Mapping
from typing import Any


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


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
        return f"error: {one_line(record['error'])}"
    identity = "-" if record["identity"] is None else f"{record['identity']:.2f}"
    measures = f"PSNR {record['psnr_db']:5.2f} dB  SSIM {record['ssim']:5.3f}  identity {identity:>4}"
    return f"{record['file']:<24}  {measures}  {record['seconds']:6.2f} s  {record.get('latent', '')}".rstrip()


def summary_table(summary: Mapping[str, Any]) -> str:
    """What `evaluate.summarize` gives, as an aligned table."""
    rows = [f"{'':<8}{'PSNR dB':>9}{'SSIM':>9}{'identity':>9}{'percept.':>9}{'landm.':>9}{'seconds':>9}"]
    for name in ("median", "p10", "p90"):
        values = [summary[name][key] for key in ("psnr_db", "ssim", "identity", "perceptual", "landmarks", "seconds")]
        rows.append(f"{name:<8}" + "".join(f"{'-' if v is None else f'{v:.3f}':>9}" for v in values))
    same = "-" if summary["same_person"] is None else f"{summary['same_person']:.1%}"
    of = f"{summary['faces']} faces; {summary['n']} pictures, {summary['failed']} of them failed"
    return "\n".join([*rows, f"same person (identity under 0.6): {same} of {of}"])

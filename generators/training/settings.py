"""The kinds of training, and the settings of a run: made, read, and compared. Nothing here needs torch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generators.errors import TrainingError
from generators.settings import settings_of
from generators.storage import from_json
from generators.training.config import EncodeConfig, RunConfig, TrainConfig
from generators.training.config_codes import (
    AutoencodeConfig,
    ContractiveConfig,
    DenoisingConfig,
    FitConfig,
    SparseConfig,
    VAEConfig,
)

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.training.trainer import Trainer

Kind = tuple[type[RunConfig], str]  # the class of its settings, and the place of its trainer
CODES = "generators.training.methods.autoencode"
KINDS: dict[str, Kind] = {  # to add one: a config, a subclass of `Trainer`, and a line here
    "stylegan2": (TrainConfig, "generators.training.methods.stylegan2:StyleGAN2Trainer"),
    "encoder": (EncodeConfig, "generators.training.methods.encoder:EncoderTrainer"),
    "ae": (AutoencodeConfig, f"{CODES}:AutoencodeTrainer"),
    "sparse": (SparseConfig, f"{CODES}:SparseTrainer"),
    "contractive": (ContractiveConfig, f"{CODES}:ContractiveTrainer"),
    "denoising": (DenoisingConfig, f"{CODES}:DenoisingTrainer"),
    "vae": (VAEConfig, f"{CODES}:VAETrainer"),
    "pca": (FitConfig, "generators.training.methods.pca:PCATrainer"),
}
SETTINGS = "settings.json"  # in the folder of a run


def config_of(kind: str) -> type[RunConfig]:
    """The class of a kind's settings; TrainingError lists the kinds where it is none."""
    return known(kind)[0]


def trainer_of(kind: str) -> "type[Trainer]":
    """The class of a kind's trainer; TrainingError lists the kinds where it is none."""
    module, name = known(kind)[1].split(":")
    return getattr(import_module(module), name)


def known(kind: str) -> Kind:
    if kind not in KINDS:
        raise TrainingError(f"nothing trains the kind {kind!r}; give one of {', '.join(KINDS)}")
    return KINDS[kind]


def train_config(
    kind: str = "stylegan2",
    *,
    sources: Sequence[Path] = (),
    resume: Path | None = None,
    init: "Generator | None" = None,
    **given: Any,
) -> Any:
    """Settings of a run: those given, and the kind's own where they are not, fitted to the run's size and length.

    resume: the folder of a run whose settings stand where nothing is given. init: the model to start from, whose sizes
    stand where nothing is given, as do those of sources that are the digits. channels: by default they go on by halves
    above the default resolution, down to 16. warmup: by default a fifth of the images, at most 12 000. TrainingError
    for a setting that the kind does not have.
    """
    config = config_of(kind)
    names = {field.name for field in fields(config)}
    if more := sorted(given.keys() - names):
        raise TrainingError(f"the kind {kind} has no {', '.join(more)}; leave it out, or see `latent train --help`")
    if resume is not None:
        saved = read_settings(resume)
        check_fits(saved["kind"], kind, saved["settings"], saved["settings"] | given, resume)
        given = {k: v for k, v in saved["settings"].items() if k in names} | given
    else:
        given = config.fitted(sizes_of_sources(sources) if init is None else sizes_of(init), given)
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}  # JSON knows no tuples
    return config(**given)


def sizes_of_sources(sources: Sequence[Path]) -> dict[str, Any]:
    """The settings that fit the pictures, where that is known beforehand."""
    from generators.pictures.sources import is_digits  # not at once, as it needs numpy

    return {"resolution": 8, "img_channels": 1} if sources and all(map(is_digits, sources)) else {}


def sizes_of(model: "Generator") -> dict[str, Any]:
    """The settings that make networks of a model's sizes."""
    largest = 256 if type(model).__name__ == "MobileStyleGAN" else model.img_resolution  # what its encoder sees
    found: dict[str, Any] = {"resolution": min(model.img_resolution, largest), "img_channels": model.img_channels}
    if (c := getattr(model, "config", None)) is not None and hasattr(c, "channels_at"):  # a StyleGAN2
        same = ("subpixel", "w_dim", "mapping_layers", "mapping_lr", "flow_steps")
        found |= {name: getattr(c, name) for name in same}
        found["channels"] = tuple(c.channels_at(r) for r in c.resolutions())
        found["linear"] = max((8 * 2**i for i, width in enumerate(c.spatial) if width), default=0)
    return found


def read_settings(run: Path) -> dict[str, Any]:
    """Read the settings of a run from its folder; TrainingError if it does not tell them."""
    try:
        if (run / "checkpoint.pt").exists() and not (run / SETTINGS).exists():
            from generators.training.checkpoint import load_checkpoint  # the settings stand there as well

            state = load_checkpoint(run / "checkpoint.pt")
            return {"kind": state.get("kind", "stylegan2"), "settings": state["config"]}
        saved = from_json((run / SETTINGS).read_text())
        return saved | {"kind": str(saved["kind"]), "settings": dict(saved["settings"])}
    except FileNotFoundError as error:
        raise TrainingError(f"nothing to resume in {run}; start without --resume") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{run / SETTINGS} is damaged ({error}); name another folder with --run") from error


def check_fits(kind: str, new_kind: str, old: Mapping[str, Any], new: Any, where: Path) -> None:
    """TrainingError if a run cannot go on with new settings, since its networks have the sizes of the old ones."""
    fixed = {name for name, (_, about) in settings_of(config_of(new_kind)).items() if about.fixed}
    other = [f"kind was {kind}, now {new_kind}"] * (kind != new_kind)
    other += [f"{name} was {a}, now {b}" for name, (a, b) in changes(old, new).items() if name in fixed]
    if other:
        raise TrainingError(
            f"{where} cannot go on: {'; '.join(other)}; give what was, or start anew with another --run"
        )


def report_resumed(run: Path, config: Any, pictures: int) -> list[str]:
    """Lines for the user of a run that is taken up again."""
    saved = read_settings(run)
    moved = [f"{name} was {a}, now {b}" for name, (a, b) in changes(saved["settings"], config).items()]
    lines = [f"going on in {run}" + (f": {'; '.join(moved)}" if moved else ", with the same settings")]
    if (before := saved.get("pictures", pictures)) != pictures:
        lines.append(f"warning: the run had {before} pictures, now {pictures}; some held out may have been trained on")
    return lines


def changes(old: Mapping[str, Any], new: Any) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, by name: before and now."""
    now = new if isinstance(new, Mapping) else vars(new)
    pairs = {name: (plain(old[name]), plain(value)) for name, value in now.items() if name in old}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

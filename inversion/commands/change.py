"""What is asked of a latent: so much of some directions, or as far as it takes, at some layers, in some regions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.options import DIRECTIONS, FILE
from inversion.commands.settings import Band, Names, Settings, grouped, options
from inversion.commands.terminal import say
from inversion.errors import SettingsError

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.directions.direction import Direction
    from inversion.latent import Latent

WHAT, WHERE = "What changes, as `latent directions list` names it", "Where it changes"
SET = grouped(WHAT, "--set", "strengths", type=Settings(), metavar="NAME=X,...", help="Standard deviations along each.")
TO = grouped(
    WHAT,
    "--to",
    "targets",
    type=Settings(),
    metavar="NAME=X,...",
    help="As far as it takes until the picture is measured so, as in age=8.",
)
WITHIN = grouped(
    WHAT, "--within", type=click.FloatRange(0, 2), default=0.6, help="Largest identity distance for --to.  [0.6]"
)
UNDO = grouped(
    WHAT, "--undo", type=Names(), default="", metavar="NAME,...", help="What shall stay: subtracted where it moves too."
)
LAYERS = grouped(
    WHERE, "--layers", "band", type=Band(), metavar="LOW-HIGH", help="Resolutions in px, as in 8-32.  [all]"
)
REGION = grouped(
    WHERE,
    "--region",
    "regions",
    type=Names(),
    default="",
    metavar="NAME,...",
    help="Parts of the face: eyes, brows, nose, mouth, jaw, hair, face, skin, background.  [all]",
)
MASK = grouped(WHERE, "--mask", type=FILE, metavar="FILE", help="Where a picture of the generator's size is white.")
SURE, FAR = 2.5, 2.0  # log odds of a gender presentation; the identity distance of anybody from anybody
BOUNDS = {
    "identity": "further on it would be another person (--within)",
    "face": "further on it is no face any more",
    "range": "the direction ends there",
}
CHANGE = options(SET, TO, WITHIN, UNDO, LAYERS, REGION, MASK, DIRECTIONS)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change, checked before anything is inverted, and then made of one latent after the other."""

    generator: "Generator"
    known: "Mapping[str, Direction]"
    strengths: Mapping[str, float]
    targets: Mapping[str, float]
    aims: "Mapping[str, Direction]"  # the direction along which each target is sought
    within: float
    layers: Sequence[int] | None = None
    regions: Sequence[str] = ()
    mask: Path | None = None

    def made(self, latent: "Latent", name: str) -> "tuple[Latent, dict[str, Any]]":
        """The latent changed, and what to tell of it; name is of the picture, for what is said."""
        from inversion.directions.apply import edit

        start = edit(self.generator, latent, self.strengths, self.known, layers=self.layers)
        moved, told = self.aimed(start, name)
        about = {"set": dict(self.strengths)} | ({"to": told} if told else {})
        return self.inside(latent, moved), about

    def aimed(self, latent: "Latent", name: str) -> "tuple[Latent, dict[str, Any]]":
        """The latent moved until its attributes are measured as wanted, one after the other, and what was reached."""
        from inversion.directions.apply import Aim, reach
        from inversion.directions.undo import moves

        told: dict[str, Any] = {}
        for what, target in self.targets.items():
            direction = self.aims[what]
            effect = direction.effects.get(moves(direction))
            aim = Aim(target=target, within=self.within, rises=None if effect is None else effect > 0)
            found = reach(self.generator, latent, direction, attribute_of(direction), aim, layers=self.layers)
            latent = found.latent
            told[what] = {"along": direction.name, "strength": found.strength, "value": found.value}
            told[what] |= {"identity": found.identity, "why": found.why}
            if found.why != "reached":
                say(f"{name}: {what} comes to {found.value:.3g}, not to {target:g}; {BOUNDS[found.why]}")
        return latent, told

    def inside(self, before: "Latent", after: "Latent") -> "Latent":
        """Keep what has changed inside of the regions and the mask, and nothing outside; all where none is named."""
        from inversion.edit.local import face_regions, local
        from inversion.faces.regions import drawn_mask

        if not self.regions and self.mask is None:
            return after
        masks = [*face_regions(self.generator, before, self.regions).values()] if self.regions else []
        masks += [] if self.mask is None else [drawn_mask(self.mask, self.generator.img_resolution)]
        return local(self.generator, before, after, united(masks))


def united(masks: Sequence[Any]) -> Any:
    """One mask of several: the largest at each place."""
    import torch.nn.functional as F

    size = max(mask.shape[-1] for mask in masks)
    same = [F.interpolate(mask, (size, size), mode="bilinear") if mask.shape[-1] != size else mask for mask in masks]
    whole = same[0]
    for mask in same[1:]:
        whole = whole.maximum(mask)
    return whole


def attribute_of(direction: "Direction") -> Any:
    """The function that labels what a direction moves; SettingsError where there is none."""
    from inversion.attributes.table import ATTRIBUTES
    from inversion.directions.undo import moves

    name = moves(direction)
    if name not in ATTRIBUTES:
        can = ", ".join(ATTRIBUTES)
        raise SettingsError(f"nothing measures {name!r}, so that --to cannot aim; use --set, or one of {can}")
    return ATTRIBUTES[name]


def change_of(
    generator: "Generator",
    *,
    strengths: Mapping[str, float] | None,
    targets: Mapping[str, float] | None,
    within: float,
    undo: Sequence[str],
    band: tuple[int, int] | None,
    regions: Sequence[str],
    mask: Path | None,
    files: Sequence[Path],
    also: Sequence[str] = (),
) -> Change:
    """The change that options ask for; its directions (also names more), regions, layers and mask are there."""
    from generators.base import layers_between
    from inversion.directions.apply import meant_for
    from inversion.directions.store import chosen, directions_for
    from inversion.directions.undo import moves
    from inversion.directions.undo import undo as without
    from inversion.faces.regions import check_regions, drawn_mask

    known = directions_for(generator, files)
    named = {name: chosen(known, name, generator) for name in (*(strengths or {}), *(targets or {}), *undo, *also)}
    away = {moves(named[name]): named[name] for name in undo}
    named = {name: one if name in undo else without(generator, one, away) for name, one in named.items()}
    aims = {name: meant_for(known, name, target) for name, target in (targets or {}).items()}
    aims = {name: without(generator, one, away) for name, one in aims.items()}
    for one in aims.values():
        attribute_of(one)
    check_regions(regions)
    if mask is not None:
        drawn_mask(mask, generator.img_resolution)
    layers = None if band is None else layers_between(generator, *band)
    more = {"strengths": strengths or {}, "targets": targets or {}, "aims": aims, "within": within, "layers": layers}
    return Change(generator=generator, known=known | named, regions=regions, mask=mask, **more)


def aged(generator: "Generator", age: float | None, sex: str | None) -> "Callable[[Latent], Latent]":
    """The change of children to an age in years and a gender presentation; SettingsError without such directions."""
    targets = {} if sex is None else {"gender": SURE if sex == "male" else -SURE}
    targets |= {} if age is None else {"age": age}
    if not targets:
        return lambda child: child
    nothing = {"undo": (), "band": None, "regions": (), "mask": None, "files": ()}
    change = change_of(generator, strengths={}, targets=targets, within=FAR, **nothing)
    return lambda child: change.made(child, "child")[0]

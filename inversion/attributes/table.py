"""Every attribute by its name: a number of a face, its unit, and what a larger one means."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from PIL import Image

from inversion.attributes import nets, shape, tones
from inversion.attributes.seen import Seen, see
from inversion.errors import SettingsError


@dataclass(frozen=True)
class Attribute:
    """A function of a face that was found, with the unit of what it gives."""

    name: str
    of: Callable[[Seen], float]
    unit: str

    @property
    def meaning(self) -> str:
        """One line: a larger value, in words."""
        return (self.of.__doc__ or "").strip().splitlines()[0]

    def __call__(self, image: Image.Image) -> float | None:
        """The value for the largest face of a picture; None without a face."""
        seen = see(image)
        return None if seen is None else self.of(seen)


EYES, LEVELS = "distances of the eyes", "levels of 255"
DEGREES = "degrees"
ALL = (
    Attribute("age", nets.age, "years"),
    Attribute("gender", nets.gender, "log odds, masculine above 0"),
    Attribute("smile", shape.smile, EYES),
    Attribute("mouth_open", shape.mouth_open, EYES),
    Attribute("eye_open", shape.eye_open, "eye widths"),
    Attribute("brow_height", shape.brow_height, EYES),
    Attribute("face_width", shape.face_width, "face heights"),
    Attribute("jaw_width", shape.jaw_width, "face widths"),
    Attribute("nose_width", shape.nose_width, EYES),
    Attribute("lip_height", shape.lip_height, EYES),
    Attribute("yaw", shape.yaw, DEGREES),
    Attribute("pitch", shape.pitch, DEGREES),
    Attribute("roll", shape.roll, DEGREES),
    Attribute("light_side", tones.light_side, LEVELS),
    Attribute("skin_light", tones.skin_light, LEVELS),
    Attribute("skin_warmth", tones.skin_warmth, LEVELS),
    Attribute("hair_dark", tones.hair_dark, LEVELS),
    Attribute("fringe", tones.fringe, LEVELS),
    Attribute("beard", tones.beard, LEVELS),
    Attribute("lip_red", tones.lip_red, LEVELS),
    Attribute("glasses", tones.glasses, LEVELS),
    Attribute("background", tones.background, LEVELS),
)
ATTRIBUTES = {one.name: one for one in ALL}


def attribute(name: str) -> Attribute:
    """The attribute of that name; SettingsError, with the nearest names, where there is none."""
    if name in ATTRIBUTES:
        return ATTRIBUTES[name]
    near = get_close_matches(name, ATTRIBUTES, n=3) or list(ATTRIBUTES)
    raise SettingsError(f"no attribute is called {name!r}; choose of {', '.join(near)}")


def values_of(seen: Seen, names: Iterable[str] = ATTRIBUTES) -> dict[str, float]:
    """The attributes of a face, by their names."""
    return {name: attribute(name).of(seen) for name in names}


def measure(image: Image.Image, names: Sequence[str] = tuple(ATTRIBUTES)) -> dict[str, float] | None:
    """The attributes of a picture's largest face, by their names; None without a face.

    The face is looked for once. Needs dlib, and for age and gender the extra `attributes`.
    """
    known = [attribute(name) for name in names]
    seen = see(image)
    return None if seen is None else {one.name: one.of(seen) for one in known}

"""The weights of a generator inside of whatever a script saved around them: found by what they are, not by a name.

A state dict is known by names that it has; what stands before those is a wrapper's prefix (module., decoder.), and the
dictionary that it stands in may lie in others.
"""

from collections.abc import Sequence

from torch import Tensor

DEEP, MOST = 3, 1000  # dictionaries inside of each other, and in all, that are looked into
ROSINALITY = ("conv1.conv.weight", "input.input")  # names that each layout's generators have
NVIDIA = (("synthesis.b4.const",), ("synthesis.input.freqs",))  # of StyleGAN2 and StyleGAN3


def states(saved: dict) -> list[tuple[str, dict]]:
    """The dictionaries in a file with the way to each; averaged ones first, then those that lie higher."""
    found: list[tuple[str, dict]] = [("", saved)]
    for way, here in found:
        if way.count("/") < DEEP:
            inner = [(f"{way}/{str(key)[:80]}", value) for key, value in here.items() if isinstance(value, dict)]
            found += inner[: MOST - len(found)]
    return sorted(found, key=lambda one: ("ema" not in one[0].lower(), one[0].count("/")))


def prefixes(state: dict, names: Sequence[str]) -> list[str]:
    """The prefixes under which a dictionary has tensors of all the names, averaged ones first."""
    found = []
    for key, value in state.items():
        if isinstance(key, str) and key.endswith(names[0]) and isinstance(value, Tensor):
            prefix = key.removesuffix(names[0])
            whole = all(isinstance(state.get(prefix + name), Tensor) for name in names)
            found += [prefix] if whole and (not prefix or prefix.endswith(".")) else []
    return sorted(found, key=lambda prefix: ("ema" not in prefix.lower(), prefix))


def unwrapped(saved: dict) -> dict:
    """The file as its readers know it: the generator's weights under g_ema or state_dict, whatever was around them."""
    all_ = states(saved)
    for way, state in all_:
        for prefix in prefixes(state, ROSINALITY):
            top = way.split("/")[1] if way else None
            averages = [here["latent_avg"] for there, here in all_ if "latent_avg" in here and way.startswith(there)]
            about = {"latent_avg": averages[-1] if averages else None} | saved
            around = {key: value for key, value in about.items() if way and key != top or key in ("latent_avg", "opts")}
            if f".{prefix}".endswith(".decoder."):
                return around | {"state_dict": below(state, prefix.removesuffix("decoder."))}
            return around | {"g_ema": below(state, prefix)}
    return saved


def below(state: dict, prefix: str) -> dict:
    """The items whose names begin so, without that."""
    return {key.removeprefix(prefix): v for key, v in state.items() if isinstance(key, str) and key.startswith(prefix)}


def nvidia_state(saved: dict) -> dict[str, Tensor] | None:
    """The state dict of a generator of NVIDIA's code; None where there is none."""
    for _, state in states(saved):
        for prefix in (prefix for names in NVIDIA for prefix in prefixes(state, names)):
            return {key: value for key, value in below(state, prefix).items() if isinstance(value, Tensor)}
    return None

"""A change as its options ask for it."""

import torch

from inversion.commands.change import change_of
from inversion.directions.direction import direction_of
from inversion.directions.store import save_directions


def test_what_shall_stay_stays_along_the_direction_of_a_target_too(generator, tmp_path):
    effects = {
        "age": {"age": 8.0, "smile": 0.0},
        "smile": {"age": 0.0, "smile": 1.0},
        "young": {"age": -6.0, "smile": 0.5},
    }
    made = {"young": {"of": "age", "between": [20.0, 12.0]}}
    axes = torch.eye(generator.w_dim)
    found = [
        direction_of(generator, name, axes[i : i + 1], effects=told, made=made.get(name, {}))
        for i, (name, told) in enumerate(effects.items())
    ]
    path = tmp_path / "mine.directions.safetensors"
    save_directions(found, path)
    plain = {"strengths": None, "within": 0.6, "band": None, "regions": (), "mask": None, "files": [path]}
    change = change_of(generator, targets={"age": 8.0}, undo=("smile",), **plain)
    assert change.aims["age"].name == "young" and abs(change.aims["age"].effects["smile"]) < 1e-6
    assert change.aims["age"].effects["age"] < 0
    assert change_of(generator, targets={"age": 40.0}, undo=(), **plain).aims["age"].name == "age"

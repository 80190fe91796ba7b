"""What the tests of readers share: files on disk, what their generators draw, and what is refused."""

import copy

import pytest
import torch

from generators.checkpoints.open import read_checkpoint
from generators.errors import ModelFileError


def with_mean(generator):
    generator.w_avg.copy_(torch.randn(generator.w_dim, generator=torch.Generator().manual_seed(7)))
    return generator


def write(path, data):
    path.write_bytes(data)
    return path


def halved(generator):
    """With weights as float16 rounds them."""
    found = copy.deepcopy(generator)
    found.load_state_dict({key: value.half() for key, value in generator.state_dict().items()})
    return found


def rendered(generator, c=None):
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(3))
    ws = generator.mapping(z, c, truncation_psi=0.7)
    return ws, generator.synthesis(ws, generator.fixed_noise(2))


def same(found, wanted, c=None):
    for a, b in zip(rendered(found, c), rendered(wanted, c), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def refused(path, words):
    with pytest.raises(ModelFileError, match=words) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and message.count(str(path)) == 1 and "\n" not in message

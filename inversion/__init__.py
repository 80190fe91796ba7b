"""Find the latent of a photograph in a trained generator, and edit it there.

The public names stand in `__init__.pyi`, once. They load on first use, so that importing the package, and
`latent --help`, load no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

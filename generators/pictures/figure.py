"""matplotlib, whatever the session that asks draws with."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKEND = "MPLBACKEND"


def figure_class() -> "type[Figure]":
    """matplotlib's Figure, which draws to files by itself.

    A notebook's MPLBACKEND, which processes inherit, names a module that need not be here; matplotlib would refuse to
    be imported, so it is imported without.
    """
    backend = os.environ.pop(BACKEND, None)
    try:
        from matplotlib.figure import Figure
    finally:
        if backend is not None:
            os.environ[BACKEND] = backend
    return Figure

"""Figures of matplotlib that are drawn into files, on no screen."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(**settings: Any) -> "Figure":
    """A figure, whatever backend the environment names: a notebook's may be unknown here, and none is needed."""
    backend = os.environ.pop("MPLBACKEND", None)  # matplotlib refuses to be imported where it does not know it
    try:
        from matplotlib.figure import Figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return Figure(**settings)

"""Command line: the names of the commands. Each lives in `inversion/commands/` and is imported when it is needed."""

import signal

import click

from inversion.commands.terminal import Commands, show_version

COMMANDS = {
    "invert": "inversion.commands.photos",
    "blend": "inversion.commands.edits",
    "interpolate": "inversion.commands.edits",
    "mix": "inversion.commands.edits",
    "edit": "inversion.commands.edit",
    "directions": "inversion.commands.directions",
    "sample": "inversion.commands.edits",
    "render": "inversion.commands.edits",
    "evaluate": "inversion.commands.measures",
    "evaluate-model": "inversion.commands.measures",
    "evaluate-space": "inversion.commands.measures",
    "plot": "inversion.commands.library",
    "search": "inversion.commands.library",
    "train": "inversion.commands.training",
    "generators": "inversion.commands.models",
    "convert": "inversion.commands.models",
    "export": "inversion.commands.models",
}  # to add one: a click command of that name, and a line here


@click.group(cls=Commands, modules=COMMANDS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version)
def main() -> None:
    """Find the latent of a photograph in a trained generator, and edit it there.

    A SOURCE is a photograph, or a saved latent (.safetensors, .npz, .npy, .pt). A photograph is inverted on the way,
    and its latent is kept in $LATENT_CACHE (~/.cache/latent) for the next time.
    """


def run() -> None:
    """The command line as a process: Ctrl-C before and after a command's own work ends it without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(prog_name="latent")


if __name__ == "__main__":
    run()

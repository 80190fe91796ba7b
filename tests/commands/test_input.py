"""Standard input that holds nothing."""

from tests.conftest import refused


def test_an_empty_pipe_is_one_line(latent, tmp_path):
    done = latent("invert", "-", "-o", tmp_path / "out", input=b"")
    assert done.exit_code == 1 and "standard input is empty" in done.stderr, done.output
    refused(latent("blend", "-", "-", "-o", tmp_path / "x.png", input=b""), "standard input is empty")

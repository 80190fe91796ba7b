import pytest

from generators.errors import DownloadError, GeneratorError, ModelFileError, naming


def test_the_name_of_a_file_stands_once_before_what_its_readers_say():
    with pytest.raises(ModelFileError) as caught, naming("a.pkl"):
        raise ModelFileError("holds no generator; is it a latent?")
    assert str(caught.value) == "a.pkl holds no generator; is it a latent?"


@pytest.mark.parametrize("kind", [GeneratorError, DownloadError, ValueError])
def test_other_errors_stay_what_they_are(kind):
    with pytest.raises(kind, match="^as it was$"), naming("a.pkl"):
        raise kind("as it was")

"""Latents that are kept are found again while all that they depend on is the same."""

from inversion.config import InvertConfig
from inversion.files import cache
from inversion.files.cache import entry_of


def test_another_way_of_reading_pictures_is_another_entry(generator, tmp_path, monkeypatch):
    def entry() -> object:
        return entry_of(tmp_path, "0" * 64, generator, InvertConfig(), {"align": True, "face": None})

    before = entry()
    assert entry() == before
    monkeypatch.setattr(cache, "READING", cache.READING + 1)
    assert entry() != before

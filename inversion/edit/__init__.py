"""Edits: pure functions from latents to a latent. To add one, write a function, and a line here."""

from inversion.edit.family import Child as Child
from inversion.edit.family import ChildConfig as ChildConfig
from inversion.edit.family import children as children
from inversion.edit.family import family as family
from inversion.edit.family import partner as partner
from inversion.edit.local import local as local
from inversion.edit.mix import blend as blend
from inversion.edit.mix import crossover as crossover
from inversion.edit.mix import mix as mix
from inversion.edit.mix import mix_noise as mix_noise
from inversion.edit.move import Route as Route
from inversion.edit.move import apply_direction as apply_direction
from inversion.edit.move import interpolate as interpolate
from inversion.edit.move import path as path
from inversion.edit.move import truncate as truncate
from inversion.edit.steady import steady as steady
from inversion.edit.traits import inherit as inherit

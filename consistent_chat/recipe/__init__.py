"""The recipe: everything that shapes the data, and nothing operational."""

from consistent_chat.recipe.description import LAYOUTS
from consistent_chat.recipe.fields import paths, suggestion
from consistent_chat.recipe.recipe import FIELDS, Recipe
from consistent_chat.registration import EXTENSION

__all__ = ["EXTENSION", "FIELDS", "LAYOUTS", "Recipe", "paths", "suggestion"]

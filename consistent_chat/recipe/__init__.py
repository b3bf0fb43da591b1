"""The recipe: everything that shapes the data, and nothing operational."""

from consistent_chat.recipe.fields import paths, suggestion
from consistent_chat.recipe.recipe import EXTENSION, FIELDS, LAYOUTS, Recipe

__all__ = ["EXTENSION", "FIELDS", "LAYOUTS", "Recipe", "paths", "suggestion"]

"""The recipe: everything that shapes the data, and nothing operational."""

from consistent_chat.recipe.recipe import EXTENSION, FIELDS, LAYOUTS, Recipe
from consistent_chat.recipe.values import paths, suggestion

__all__ = ["EXTENSION", "FIELDS", "LAYOUTS", "Recipe", "paths", "suggestion"]

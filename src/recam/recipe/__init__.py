"""Recipes: TOML and keywords to validated settings."""

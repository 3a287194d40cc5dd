"""The built-in scenes: drawn by the package itself."""

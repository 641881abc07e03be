"""Programs that work on the repository and are not shipped with the package."""

"""Generators of the documents under docs/ whose figures are computed by the package."""

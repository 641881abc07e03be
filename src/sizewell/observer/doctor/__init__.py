"""Checks of a node before weights load: one file reads a subject, another judges what was read."""

"""How failures of a start and deaths of an engine are worded, a file for each subject."""

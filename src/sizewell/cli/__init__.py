"""Words in, words out: the command line. Nothing is computed here."""

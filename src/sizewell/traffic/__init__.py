"""The requests we offer and what a good answer to them is: the only definitions of TTFT, TPOT, E2E and their limits."""

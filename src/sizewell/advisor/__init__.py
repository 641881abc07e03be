"""Names the bottleneck of a plan or of a live server, and proposes one change at a time with its predicted gain."""

"""A deployment turned into something that runs: command lines, compose files, SLURM jobs, Kubernetes objects, units.

Nothing here decides a limit: every number comes from the deployment that was priced, and every artefact can be read
back to it.
"""

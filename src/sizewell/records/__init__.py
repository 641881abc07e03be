"""What happened, kept: plans, runs and calibrations, in one file that many processes may use at once."""

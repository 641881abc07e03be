"""A compiler for the plain subset of Python the simulator is written in: functions over tuples of arrays."""

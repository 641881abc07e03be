"""The bytes a deployment needs and the seconds a step takes: the only cost model."""

"""Facts as files: accelerators, nodes, models, engines, prices."""

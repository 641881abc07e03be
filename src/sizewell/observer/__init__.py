"""What machines say: engine logs, metrics and endpoints, the state of a node, and how fast its kernels are."""

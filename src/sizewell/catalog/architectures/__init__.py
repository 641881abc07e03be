"""How the layers of each model family are built from its configuration: one module per layer structure."""

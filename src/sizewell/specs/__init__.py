"""What things are: models, accelerators, nodes, engines, deployments. Frozen types, arithmetic on their own fields."""

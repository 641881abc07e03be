"""Lists candidate deployments, rejects with reasons, ranks, explains. It is handed its facts and looks nothing up."""

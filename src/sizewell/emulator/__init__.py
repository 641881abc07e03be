"""An OpenAI-compatible server that behaves, in real time or faster, like a deployment you do not have."""

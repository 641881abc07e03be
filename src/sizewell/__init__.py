"""Size and run LLM serving: plan, explain, and close the loop."""

"""What engines say in their logs."""

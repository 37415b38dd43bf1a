"""What the classes of a store look like."""

"""Plans of a given shape: which columns may be used, by an integer programme with cones."""

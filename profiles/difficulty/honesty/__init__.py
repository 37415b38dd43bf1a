"""How far predictions and classes can be trusted."""

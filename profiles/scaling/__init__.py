"""How accuracy changes with compute."""

"""From observations to cells, and what may be said of them."""

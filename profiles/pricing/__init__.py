"""What tokens and GPU-seconds cost, and since when."""

"""The pages of the what-if app."""

"""How prompts are read: features of their text and vectors of an encoder."""

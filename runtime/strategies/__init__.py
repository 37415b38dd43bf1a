"""Ways to answer a request, each with a cost bound that is known before it starts."""

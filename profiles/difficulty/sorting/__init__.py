"""Classes made of predictions: prototypes, bins, price rules, labels."""

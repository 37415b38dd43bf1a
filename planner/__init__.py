"""From profiles and limits to the cheapest allocation that keeps every promise."""

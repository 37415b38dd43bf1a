"""Half an hour of recorded traffic, ten times as fast, through real gateways; see `__main__`."""

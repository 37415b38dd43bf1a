"""Money that is owed whatever the requests are: which to pay, and from what volume on."""

"""Pictures of plans, the same in the app, in files and in documents."""

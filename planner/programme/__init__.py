"""The linear programme: model of record, arrays, warm solver, margins as cuts."""

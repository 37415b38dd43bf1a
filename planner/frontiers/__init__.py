"""The exchange rate between money and accuracy, planned and in hindsight."""

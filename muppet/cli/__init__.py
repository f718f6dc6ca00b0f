"""The commands of people with a model or data of their own."""

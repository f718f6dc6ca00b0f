"""All that renders."""
